/**
 * The WebAssembly max pooling by windows that move by one pixel against its plain definition, over odd, prime and
 * tiny images in every layout. Memory around the operands is NaN, so whatever a kernel reads beyond them shows.
 * Maxima are exact; ties, infinities and NaNs are planted everywhere.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { HostView } from "../src/backends/backend.ts";
import { loops } from "../src/backends/cpu/loops/index.ts";
import { slidingPoolKernels } from "../src/backends/cpu/wasm/kernels/poolSliding.ts";
import {
  dense,
  indices,
  makeInputs,
  outputView,
  plainSetting,
  type Setting,
  setting,
  size,
} from "./hostViews.ts";
import { counting, expectCalls, expectWithin, unit, workplace } from "./support/sharedViews.ts";

const extent = fc.constantFrom(1, 2, 3, 4, 5, 7, 8, 9, 13, 17, 19);
const images = fc.tuple(fc.integer({ min: 1, max: 2 }), fc.integer({ min: 1, max: 3 }), extent, extent);
const sides = fc.constantFrom(1, 2, 3, 5, 6, 9, 13);

interface Windows {
  readonly x: readonly number[];
  readonly kernelSize: readonly [number, number];
  readonly padding: readonly [number, number, number, number];
}

const windowed = fc
  .tuple(images, sides, sides, fc.array(fc.nat(12), { minLength: 4, maxLength: 4 }))
  .map(([x, K, L, margins]): Windows => {
    const [top, bottom, left, right] = margins.map((margin, side) => margin % (side < 2 ? K : L));
    return { x, kernelSize: [K, L], padding: [top, bottom, left, right] };
  })
  .filter(({ x, kernelSize: [K, L], padding: [top, bottom, left, right] }) => {
    return x[2] + top + bottom >= K && x[3] + left + right >= L;
  });

/** Few distinct values, so that windows have ties, and some that are not finite. */
function makeTies(view: HostView, wild: boolean): void {
  view.data.forEach((value, i) => {
    const level = Math.round(value * 4);
    view.data[i] = level;
    if (wild && level === 4) view.data[i] = Number.POSITIVE_INFINITY;
    if (wild && level <= -2) view.data[i] = Number.NEGATIVE_INFINITY;
    if (wild && level === 1 && i % 3 === 0) view.data[i] = Number.NaN;
  });
}

describe("WebAssembly max pooling by windows that move by one", () => {
  const { runtime, share, clear } = workplace(false);
  const { maxPool2d, maxPool2dInputGradient } = loops;
  const fallback = counting({ maxPool2d, maxPool2dInputGradient });
  const kernels = slidingPoolKernels(runtime, fallback.kernels);

  function check({ x: shape, kernelSize, padding }: Windows, s: Setting, wild: boolean): void {
    clear();
    const [N, C, H, W] = shape;
    const [K, L] = kernelSize;
    const [top, bottom, left, right] = padding;
    const pooled = [N, C, H + top + bottom - K + 1, W + left + right - L + 1];
    const [image, gradient] = makeInputs([shape, pooled], s);
    makeTies(image, wild);
    const inputs = [image, gradient].map(share);
    const [xs, gs] = inputs.map(dense);
    const winners = Array.from(indices(pooled), ([n, c, p, q]) => {
      const taps = Array.from(indices(kernelSize), ([r, t]) => [p - top + r, q - left + t])
        .filter(([h, w]) => h >= 0 && h < H && w >= 0 && w < W)
        .map(([h, w]) => ((n * C + c) * H + h) * W + w);
      const notNumbers = taps.filter((tap) => Number.isNaN(xs[tap]));
      const largest = Math.max(...taps.map((tap) => xs[tap]));
      return notNumbers.at(-1) ?? taps.find((tap) => xs[tap] === largest) ?? Number.NaN;
    });
    const attributes = { kernelSize, padding, stride: [1, 1], dilation: [1, 1] } as const;
    const isForLoops = (views: readonly HostView[]): boolean =>
      views.some(({ dtype, shape, strides }) => dtype !== "f32" || (shape[3] !== 1 && strides[3] !== 1));

    const output = share(outputView(pooled, s.dtype, s.plans[2]));
    kernels.maxPool2d([inputs[0]], output, attributes);
    expectCalls(fallback, isForLoops([inputs[0], output]), "loops for the maximum");
    expectWithin(
      output,
      winners.map((at) => xs[at]),
      new Float64Array(winners.length),
    );

    const [expected, sizes] = [new Float64Array(size(shape)), new Float64Array(size(shape))];
    for (const [o, at] of winners.entries()) {
      expected[at] += gs[o];
      sizes[at] += Math.abs(gs[o]);
    }
    const result = share(outputView(shape, s.dtype, s.plans[3]));
    kernels.maxPool2dInputGradient(inputs, result, attributes);
    const gaps = H > 1 && result.strides[2] !== W;
    expectCalls(fallback, gaps || isForLoops([...inputs, result]), "loops for the gradient");
    // No more windows than they have pixels meet in one.
    expectWithin(
      result,
      expected,
      sizes.map((magnitude) => unit * K * L * magnitude),
    );
  }

  it("finds the first largest of each window, and its gradient sends it there", () => {
    fc.assert(
      fc.property(windowed, setting, fc.boolean(), (windows, s, wild) => check(windows, s, wild)),
      { numRuns: 500 },
    );
    for (const side of [3, 5, 9, 13]) {
      const margin = (side - 1) / 2;
      const windows: Windows = {
        x: [2, 3, 13, 13],
        kernelSize: [side, side],
        padding: [margin, margin, margin, margin],
      };
      check(windows, plainSetting, false);
      check(windows, plainSetting, true);
    }
  });

  it("leaves other steps to the loops", () => {
    clear();
    const [x] = makeInputs([[1, 1, 7, 7]], plainSetting).map(share);
    const output = share(outputView([1, 1, 3, 3], "f32", plainSetting.plans[1]));
    const attributes = {
      kernelSize: [3, 3],
      padding: [0, 0, 0, 0],
      stride: [2, 2],
      dilation: [1, 1],
    } as const;
    kernels.maxPool2d([x], output, attributes);
    expectCalls(fallback, true, "loops for stride 2");
    expect(dense(output)[0]).toBe(Math.max(...[0, 1, 2, 7, 8, 9, 14, 15, 16].map((at) => dense(x)[at])));
  });
});
