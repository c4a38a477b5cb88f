/**
 * The WebAssembly upsampling and adaptive pooling, and their gradients, against plain definitions over odd, prime and
 * tiny images in every layout and size. Memory around the operands is NaN, so whatever the kernel reads beyond them
 * shows. A pixel made of r rows and c columns goes through r + c roundings, and four for the weights.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { HostView } from "../src/backends/backend.ts";
import { resizeKernels } from "../src/backends/cpu/wasm/kernels/resize.ts";
import { adaptiveAvgPool2d, Generator, grad, randn, type Tensor, upsample } from "../src/index.ts";
import {
  dense,
  indices,
  inputView,
  makeInputs,
  outputView,
  plain,
  plainSetting,
  type Setting,
  setting,
  size,
} from "./hostViews.ts";
import { poisonFreedMemory } from "./support/poison.ts";
import { arithmetics, expectWithin, unit, workplace } from "./support/sharedViews.ts";

type Weights = readonly (readonly number[])[];

interface Resizing {
  readonly mode: "nearest" | "bilinear" | "mean";
  readonly from: readonly [number, number];
  readonly to: readonly [number, number];
  readonly scale: readonly [number, number] | null;
  readonly alignCorners: boolean;
}

/** The share of every input in every output along one axis, from the definition of each mode. */
function weightsOf({ mode, from, to, scale, alignCorners }: Resizing, axis: 0 | 1): Weights {
  const [extent, outputs] = [from[axis], to[axis]];
  const ratio = scale ? 1 / scale[axis] : extent / outputs;
  return Array.from({ length: outputs }, (_, o) => {
    const shares = new Array<number>(extent).fill(0);
    if (mode === "mean") {
      const covered = shares.map((_, i) => i * outputs < (o + 1) * extent && (i + 1) * outputs > o * extent);
      const count = covered.filter(Boolean).length;
      return covered.map((inside) => (inside ? 1 / count : 0));
    }
    if (mode === "nearest") {
      const at = scale ? Math.floor(o / scale[axis]) : Math.floor((o * extent) / outputs);
      shares[Math.min(at, extent - 1)] = 1;
      return shares;
    }
    const corners = outputs > 1 ? (o * (extent - 1)) / (outputs - 1) : 0;
    const at = alignCorners ? corners : Math.max(0, (o + 0.5) * ratio - 0.5);
    const low = Math.min(Math.floor(at), extent - 1);
    shares[low] += 1 - (at - low);
    shares[Math.min(low + 1, extent - 1)] += at - low;
    return shares;
  });
}

const extent = fc.constantFrom(1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 19);
const pairOf = fc.tuple(extent, extent);
const resizing = fc
  .record({
    mode: fc.constantFrom("nearest", "bilinear", "mean"),
    from: pairOf,
    to: pairOf,
    scale: fc.option(fc.tuple(fc.constantFrom(0.5, 1.5, 2, 2.3), fc.constantFrom(1, 2, 3, 3.1)), {
      nil: null,
    }),
    alignCorners: fc.boolean(),
  })
  .map((drawn): Resizing => {
    const { from, scale } = drawn;
    if (!scale || drawn.mode === "mean") return { ...drawn, scale: null };
    const scaled = (axis: 0 | 1) => Math.max(1, Math.floor(from[axis] * scale[axis]));
    return { ...drawn, to: [scaled(0), scaled(1)] };
  });
const images = fc.tuple(fc.integer({ min: 1, max: 2 }), fc.integer({ min: 1, max: 3 }));

describe.each(arithmetics)("WebAssembly resizing (fused arithmetic: %s)", (fused) => {
  const { runtime, share, clear } = workplace(fused);
  const kernels = resizeKernels(runtime);
  let left = 0;
  const reference = () => {
    left++;
  };

  /** y = rows · x · columnsᵀ for each plane. */
  function expectResized(x: HostView, output: HostView, rows: Weights, columns: Weights): void {
    const values = dense(x);
    const [, , H, W] = x.shape;
    const [expected, allowed] = [new Float64Array(size(output.shape)), new Float64Array(size(output.shape))];
    let flat = 0;
    for (const [n, c, p, q] of indices(output.shape)) {
      const plane = (n * x.shape[1] + c) * H * W;
      let [sum, magnitude, terms] = [0, 0, 0];
      for (let h = 0; h < H; h++)
        for (let w = 0; w < W; w++) {
          const weight = rows[p][h] * columns[q][w];
          if (weight === 0) continue;
          sum += weight * values[plane + h * W + w];
          magnitude += Math.abs(weight * values[plane + h * W + w]);
          terms++;
        }
      const roundings = rows[p].filter(Boolean).length + columns[q].filter(Boolean).length + 4;
      expected[flat] = sum;
      allowed[flat++] = terms > 0 ? unit * roundings * magnitude : 0;
    }
    expectWithin(output, expected, allowed);
  }

  const transposed = (weights: Weights, extent: number): Weights =>
    Array.from({ length: extent }, (_, i) => weights.map((shares) => shares[i]));

  function check([N, C]: readonly number[], wanted: Resizing, s: Setting): void {
    clear();
    left = 0;
    const { from, to, mode, scale, alignCorners } = wanted;
    const [small, large] = [
      [N, C, ...from],
      [N, C, ...to],
    ];
    const [x, gradient] = makeInputs([small, large], { ...s, planted: undefined }).map(share);
    const [y, back] = [
      share(outputView(large, s.dtype, s.plans[2])),
      share(outputView(small, s.dtype, s.plans[3])),
    ];
    const [rows, columns] = [weightsOf(wanted, 0), weightsOf(wanted, 1)];
    const isForLoops = (views: readonly HostView[]) =>
      views.some(({ dtype, shape, strides }) => dtype !== "f32" || (shape[3] !== 1 && strides[3] !== 1));
    if (mode === "mean") kernels.adaptiveAvgPool2d([x], y, { outputSize: to }, reference);
    else kernels.upsample([x], y, { mode, size: to, scale, alignCorners }, reference);
    expect(left).toBe(isForLoops([x, y]) ? 1 : 0);
    if (left === 0) expectResized(x, y, rows, columns);
    left = 0;
    if (mode === "mean")
      kernels.adaptiveAvgPool2dInputGradient([gradient], back, { inputShape: small }, reference);
    else
      kernels.upsampleInputGradient(
        [gradient],
        back,
        { mode, size: to, scale, alignCorners, inputShape: small },
        reference,
      );
    expect(left).toBe(isForLoops([gradient, back]) ? 1 : 0);
    if (left === 0) expectResized(gradient, back, transposed(rows, from[0]), transposed(columns, from[1]));
  }

  it("is the weighted sum of its definition, backwards too, in any size and layout", () => {
    fc.assert(
      fc.property(images, resizing, setting, (counts, wanted, s) => check(counts, wanted, s)),
      { numRuns: 500 },
    );
  });

  it.each([
    ["twice the size, nearest", "nearest", [13, 13], [26, 26]],
    ["twice the size, bilinear", "bilinear", [13, 19], [26, 38]],
    ["half the size", "nearest", [14, 14], [7, 7]],
    ["mean of 6 x 6 windows", "mean", [13, 17], [6, 6]],
    ["mean of everything", "mean", [33, 31], [1, 1]],
    ["the size it has", "mean", [5, 6], [5, 6]],
  ] as const)("does %s", (_, mode, from, to) => {
    check([2, 5], { mode, from, to, scale: null, alignCorners: false }, plainSetting);
  });

  it("takes nothing from pixels that are not its own, infinite ones included", () => {
    clear();
    const x = share(inputView([1, 1, 3, 9], "f32", plain, 5));
    x.data[x.offset + 4] = Number.POSITIVE_INFINITY;
    x.data[x.offset + 9] = Number.NaN;
    const y = share(outputView([1, 1, 6, 18], "f32", plain));
    kernels.upsample([x], y, { mode: "nearest", size: [6, 18], scale: null, alignCorners: false }, reference);
    const values = dense(x);
    const expected = Array.from(indices([6, 18]), ([p, q]) => values[9 * (p >> 1) + (q >> 1)]);
    expectWithin(y, expected, new Float64Array(expected.length));
  });
});

describe("resizing by the ops", () => {
  poisonFreedMemory();

  it("agrees with f64, in freed memory full of NaN", () => {
    const run = (dtype: "f32" | "f64", [H, W]: readonly number[], seed: number): Tensor[] => {
      const x = randn([2, 3, H, W], { generator: new Generator(seed) }).to(dtype);
      x.requiresGrad = true;
      const results = [
        upsample(x, { scaleFactor: 2 }),
        upsample(x, { scaleFactor: [1.5, 2.3], mode: "bilinear" }),
        upsample(x, { size: [5, 7], mode: "bilinear", alignCorners: true }),
        adaptiveAvgPool2d(x, [3, 2]),
      ];
      return results.flatMap((y) => [y, ...grad(y.mul(y).sum(), [x])]);
    };
    fc.assert(
      fc.property(pairOf, fc.nat(1e6), (extents, seed) => {
        const exact = run("f64", extents, seed).map((result) => result.dataSync());
        for (const [t, result] of run("f32", extents, seed).entries())
          for (const [i, value] of result.dataSync().entries())
            expect(Math.abs(value - exact[t][i])).toBeLessThan(1e-4);
      }),
      { numRuns: 20 },
    );
  });
});
