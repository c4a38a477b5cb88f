/**
 * The WebAssembly pooling against its plain definition, over odd, prime and tiny images in every layout. Memory around
 * the operands is NaN, so whatever a kernel reads beyond them shows. Maxima are exact; ties, infinities and NaNs are
 * planted everywhere.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { HostView } from "../src/backends/backend.ts";
import { loops } from "../src/backends/cpu/loops/index.ts";
import { planeKernels } from "../src/backends/cpu/wasm/kernels/planes.ts";
import { poolKernels } from "../src/backends/cpu/wasm/kernels/pool.ts";
import { resizeKernels } from "../src/backends/cpu/wasm/kernels/resize.ts";
import { sumKernels, sumRoundings } from "../src/backends/cpu/wasm/kernels/sums.ts";
import { avgPool2d, Generator, grad, maxPool2d, randn, type Tensor } from "../src/index.ts";
import {
  dense,
  indices,
  makeInputs,
  outputView,
  plain,
  plainSetting,
  type Setting,
  setting,
  size,
} from "./hostViews.ts";
import { poisonFreedMemory } from "./support/poison.ts";
import { counting, expectCalls, expectWithin, unit, workplace } from "./support/sharedViews.ts";

type Attributes = Parameters<typeof loops.avgPool2d>[2];

interface PoolCase {
  readonly x: readonly number[];
  readonly y: readonly number[];
  readonly attributes: Attributes;
}

const extent = fc.constantFrom(1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 14, 16, 17, 31, 33, 56);
const images = fc.tuple(fc.integer({ min: 1, max: 2 }), fc.integer({ min: 1, max: 3 }), extent, extent);

/** Windows of one size, or null where the image is smaller than one. */
function poolCase(x: readonly number[], window: number, padding: readonly number[]): PoolCase | null {
  const [top, bottom, left, right] = padding;
  const outputs = (length: number) => Math.floor((length - window) / 2) + 1;
  const [P, Q] = [outputs(x[2] + top + bottom), outputs(x[3] + left + right)];
  const attributes: Attributes = {
    kernelSize: [window, window],
    stride: [2, 2],
    padding: [top, bottom, left, right],
    dilation: [1, 1],
    countIncludePad: true,
  };
  return P > 0 && Q > 0 ? { x, y: [x[0], x[1], P, Q], attributes } : null;
}

/** For each output in row-major order, the flat input positions of the taps that lie inside. */
function windows({ x, y, attributes }: PoolCase): number[][] {
  const { kernelSize, padding } = attributes;
  return Array.from(indices(y), ([n, c, p, q]) => {
    const taps: number[] = [];
    for (const [r, s] of indices(kernelSize)) {
      const [h, w] = [2 * p - padding[0] + r, 2 * q - padding[2] + s];
      if (h >= 0 && h < x[2] && w >= 0 && w < x[3]) taps.push(((n * x[1] + c) * x[2] + h) * x[3] + w);
    }
    return taps;
  });
}

/** First of the largest; the last NaN, if there is one. */
function winner(taps: readonly number[], values: Float64Array): number | undefined {
  const notNumbers = taps.filter((tap) => Number.isNaN(values[tap]));
  if (notNumbers.length > 0) return notNumbers.at(-1);
  const largest = Math.max(...taps.map((tap) => values[tap]));
  return taps.find((tap) => values[tap] === largest);
}

const margins = fc.oneof(
  fc.constant([0, 0, 0, 0]),
  fc.constant([1, 1, 1, 1]),
  fc.tuple(fc.nat(2), fc.nat(2), fc.nat(2), fc.nat(2)),
);

describe("WebAssembly pooling", () => {
  const { runtime, share, clear } = workplace(false);
  const { avgPool2d, avgPool2dInputGradient, maxPool2d, maxPool2dInputGradient } = loops;
  const fallback = counting({ avgPool2d, avgPool2dInputGradient, maxPool2d, maxPool2dInputGradient });
  const kernels = poolKernels(
    runtime,
    planeKernels(runtime),
    sumKernels(runtime),
    resizeKernels(runtime),
    fallback.kernels,
  );

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

  const isForLoops = (views: readonly HostView[]): boolean =>
    views.some(({ dtype, shape, strides }) => dtype !== "f32" || (shape[3] !== 1 && strides[3] !== 1));

  function checkMaximum(pool: PoolCase, s: Setting, wild: boolean): void {
    clear();
    const [image, gradient] = makeInputs([pool.x, pool.y], s);
    makeTies(image, wild);
    const inputs = [image, gradient].map(share);
    const [xs, gs] = inputs.map(dense);
    const taps = windows(pool);
    const winners = taps.map((window) => winner(window, xs));
    const output = share(outputView(pool.y, s.dtype, s.plans[2]));
    kernels.maxPool2d([inputs[0]], output, pool.attributes);
    const noAllowance = new Float64Array(size(pool.y));
    const maxima = winners.map((at) => (at === undefined ? Number.NEGATIVE_INFINITY : xs[at]));
    expectWithin(output, maxima, noAllowance);
    const known = pool.attributes.kernelSize[0] === 3 || pool.attributes.padding.every((n) => n === 0);
    expectCalls(fallback, !known || isForLoops([inputs[0], output]), "loops for the maximum");

    const expected = new Float64Array(size(pool.x));
    const sizes = new Float64Array(size(pool.x));
    for (const [o, at] of winners.entries()) {
      if (at === undefined) continue;
      expected[at] += gs[o];
      sizes[at] += Math.abs(gs[o]);
    }
    const result = share(outputView(pool.x, s.dtype, s.plans[3]));
    kernels.maxPool2dInputGradient(inputs, result, pool.attributes);
    // At most four windows meet in a pixel.
    expectWithin(
      result,
      expected,
      sizes.map((magnitude) => unit * 4 * magnitude),
    );
    // Overlapping windows over what is not finite may be left to the loops.
    if (pool.attributes.kernelSize[0] === 3 && !xs.every(Number.isFinite)) fallback.calls = 0;
    else expectCalls(fallback, !known || isForLoops([...inputs, result]), "loops for the gradient");
  }

  it.each([2, 3])("maxPool2d by %i and its gradient find the first largest of each window", (window) => {
    fc.assert(
      fc.property(images, margins, setting, fc.boolean(), (x, padding, s, wild) => {
        const pool = poolCase(x, window, padding);
        if (pool) checkMaximum(pool, s, wild);
      }),
      { numRuns: 300 },
    );
    for (const x of [
      [2, 3, 14, 14],
      [1, 2, 7, 7],
      [1, 1, 56, 57],
    ]) {
      const pool = poolCase(x, window, window === 3 ? [1, 1, 1, 1] : [0, 0, 0, 0]);
      if (pool) checkMaximum(pool, plainSetting, false);
    }
  });

  it("maxPool2d's gradient sends what a window of minus infinities gets to the first inside", () => {
    for (const window of [2, 3]) {
      const pool = poolCase([1, 1, 5, 9], window, window === 3 ? [1, 1, 1, 1] : [0, 0, 0, 0]);
      if (!pool) throw new Error("the image is smaller than the window");
      clear();
      const [x, gradient] = makeInputs([pool.x, pool.y], plainSetting).map(share);
      x.data.fill(Number.NEGATIVE_INFINITY);
      const [fast, slow] = [0, 1].map(() => share(outputView(pool.x, "f32", plain)));
      kernels.maxPool2dInputGradient([x, gradient], fast, pool.attributes);
      loops.maxPool2dInputGradient([x, gradient], slow, pool.attributes);
      expect(fast.data).toEqual(slow.data);
      fallback.calls = 0;
    }
  });

  it("avgPool2d by 2 and its gradient divide by four", () => {
    fc.assert(
      fc.property(images, setting, (shape, s) => {
        const pool = poolCase(shape, 2, [0, 0, 0, 0]);
        if (!pool) return;
        clear();
        const [x, gradient] = makeInputs([pool.x, pool.y], s).map(share);
        const [xs, gs] = [x, gradient].map(dense);
        const taps = windows(pool);
        const means = taps.map((window) => window.reduce((sum, tap) => sum + xs[tap] / 4, 0));
        const sizes = taps.map((window) => window.reduce((sum, tap) => sum + Math.abs(xs[tap]) / 4, 0));
        const output = share(outputView(pool.y, s.dtype, s.plans[2]));
        kernels.avgPool2d([x], output, pool.attributes);
        expectWithin(
          output,
          means,
          sizes.map((magnitude) => unit * 3 * magnitude),
        );
        expectCalls(fallback, isForLoops([x, output]), "loops for the mean");

        const shares = new Float64Array(size(pool.x));
        for (const [o, window] of taps.entries()) for (const tap of window) shares[tap] = gs[o] / 4;
        const result = share(outputView(pool.x, s.dtype, s.plans[3]));
        kernels.avgPool2dInputGradient([gradient], result, pool.attributes);
        expectWithin(result, shares, new Float64Array(size(pool.x)));
        expectCalls(fallback, isForLoops([gradient, result]), "loops for the gradient");
      }),
      { numRuns: 300 },
    );
  });

  it("avgPool2d's gradient by windows that divide the image is spread evenly", () => {
    const side = fc.record({
      windows: fc.integer({ min: 1, max: 4 }),
      extent: fc.integer({ min: 3, max: 9 }),
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), side, side, setting, (planes, rows, columns, s) => {
        clear();
        const y = [1, planes, rows.windows, columns.windows];
        const x = [1, planes, rows.windows * rows.extent, columns.windows * columns.extent];
        const gradient = share(makeInputs([y], s)[0]);
        const values = dense(gradient);
        const kernelSize = [rows.extent, columns.extent] as const;
        const attributes: Attributes = {
          ...{
            kernelSize,
            stride: kernelSize,
            dilation: [1, 1],
            padding: [0, 0, 0, 0],
            countIncludePad: true,
          },
        };
        const result = share(outputView(x, s.dtype, s.plans[2]));
        kernels.avgPool2dInputGradient([gradient], result, attributes);
        const expected = Array.from(indices(x), ([, c, h, w]) => {
          const window = Math.floor(h / rows.extent) * columns.windows + Math.floor(w / columns.extent);
          return values[c * rows.windows * columns.windows + window] / (rows.extent * columns.extent);
        });
        // Two weights and the product are rounded.
        expectWithin(
          result,
          expected,
          expected.map((value) => 4 * unit * Math.abs(value)),
        );
        expectCalls(fallback, isForLoops([gradient, result]), "loops for the gradient");
      }),
      { numRuns: 200 },
    );
  });

  it("avgPool2d by one window is the mean of each plane", () => {
    fc.assert(
      fc.property(images, setting, ([N, C, H, W], s) => {
        clear();
        const x = share(makeInputs([[N, C, H, W]], s)[0]);
        const values = dense(x);
        const means = new Float64Array(N * C);
        const sizes = new Float64Array(N * C);
        for (const [i, value] of values.entries()) {
          const plane = Math.floor(i / (H * W));
          means[plane] += value / (H * W);
          sizes[plane] += Math.abs(value) / (H * W);
        }
        const output = share(outputView([N, C, 1, 1], s.dtype, s.plans[2]));
        kernels.avgPool2d([x], output, {
          kernelSize: [H, W],
          stride: [H, W],
          padding: [0, 0, 0, 0],
          dilation: [1, 1],
          countIncludePad: true,
        });
        expectWithin(
          output,
          means,
          sizes.map((magnitude) => unit * (sumRoundings + 2) * magnitude),
        );
        expectCalls(fallback, isForLoops([x]), "loops for one window");
      }),
      { numRuns: 200 },
    );
  });
});

describe("pooling by the ops", () => {
  poisonFreedMemory();

  it("agrees with f64, in freed memory full of NaN", () => {
    const run = (dtype: "f32" | "f64", shape: readonly number[], seed: number): Tensor[] => {
      const x = randn(shape, { generator: new Generator(seed) }).to(dtype);
      x.requiresGrad = true;
      const results = [
        maxPool2d(x, { kernelSize: 3, stride: 2, padding: 1 }),
        maxPool2d(x, { kernelSize: 2 }),
        avgPool2d(x, { kernelSize: 2 }),
      ];
      return results.flatMap((y) => [y, ...grad(y.mul(y).sum(), [x])]);
    };
    fc.assert(
      fc.property(images, fc.nat(1e6), (shape, seed) => {
        fc.pre(shape[2] > 1 && shape[3] > 1);
        const exact = run("f64", shape, seed).map((tensor) => tensor.dataSync());
        for (const [t, tensor] of run("f32", shape, seed).entries())
          for (const [i, value] of tensor.dataSync().entries())
            expect(Math.abs(value - exact[t][i])).toBeLessThan(1e-5);
      }),
      { numRuns: 60 },
    );
  });
});
