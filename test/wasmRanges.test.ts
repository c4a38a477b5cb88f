/**
 * However a kernel's range is cut, the result has the same bits: what makes a training step the same on any number of
 * threads. Sizes are those at which kernels cut differently: below and above a segment, a block, a strip.
 */
import fc from "fast-check";
import { describe, it } from "vitest";
import type { HostKernel, HostView } from "../src/backends/backend.ts";
import { loops } from "../src/backends/cpu/loops/index.ts";
import { runPointwise } from "../src/backends/cpu/pointwise.ts";
import { batchNormKernels } from "../src/backends/cpu/wasm/kernels/batchNorm.ts";
import { channelKernels } from "../src/backends/cpu/wasm/kernels/channels.ts";
import { copyKernels } from "../src/backends/cpu/wasm/kernels/copy.ts";
import { planeKernels } from "../src/backends/cpu/wasm/kernels/planes.ts";
import { pointwiseKernel } from "../src/backends/cpu/wasm/kernels/pointwise.ts";
import { poolKernels } from "../src/backends/cpu/wasm/kernels/pool.ts";
import { reduceKernels } from "../src/backends/cpu/wasm/kernels/reduce.ts";
import { resizeKernels } from "../src/backends/cpu/wasm/kernels/resize.ts";
import { sumKernels } from "../src/backends/cpu/wasm/kernels/sums.ts";
import { WasmRuntime } from "../src/backends/cpu/wasm/runtime.ts";
import { add, input, mul, parameter, sigmoid } from "../src/backends/expression.ts";
import { inputView, type LayoutPlan, outputView, plain } from "./hostViews.ts";
import { arithmetics, CutRuntime, workplace } from "./support/sharedViews.ts";

const slice: LayoutPlan = { ...plain, before: [0, 2, 0, 0, 0], after: [0, 1, 0, 0, 0] };
const inside: LayoutPlan = { ...plain, before: [0, 0, 1, 1, 0], after: [0, 0, 1, 0, 0] };
const plan = fc.constantFrom(plain, slice, inside);

/** All kernels on one memory. */
function place(Runtime: typeof WasmRuntime) {
  const { runtime, share, clear } = workplace(arithmetics.at(-1) ?? false, Runtime);
  const [planes, sums] = [planeKernels(runtime), sumKernels(runtime)];
  const kernels = {
    ...batchNormKernels(runtime, sums, channelKernels(runtime), loops),
    ...copyKernels(runtime, planes, loops),
    ...reduceKernels(runtime, sums, loops),
    ...poolKernels(runtime, planes, sums, resizeKernels(runtime), loops),
    pointwise: pointwiseKernel(runtime, runPointwise),
  };
  return { kernels, share, clear };
}

const whole = place(WasmRuntime);
const cut = place(CutRuntime as typeof WasmRuntime);

/** Runs a kernel of both places on the same inputs, several times where ranges are cut; expects the same bits. */
function expectSameBits<Attributes>(
  choose: (kernels: typeof whole.kernels) => HostKernel<Attributes>,
  inputs: readonly HostView[],
  outputShape: readonly number[],
  attributes: Attributes,
  outputPlan = plain,
): void {
  const bits = (at: typeof whole): Int32Array => {
    at.clear();
    const views = inputs.map(at.share);
    const output = at.share(outputView(outputShape, "f32", outputPlan));
    choose(at.kernels)(views, output, attributes);
    return new Int32Array(output.data.buffer, output.data.byteOffset, output.data.length).slice();
  };
  const expected = bits(whole);
  for (let turn = 0; turn < 2; turn++) {
    const found = bits(cut);
    // Comparing arrays by expect would take seconds.
    const first = found.findIndex((value, i) => value !== expected[i]);
    if (first >= 0)
      throw new Error(`element ${first} is ${found[first]} instead of ${expected[first]} (bits)`);
  }
}

const view = (shape: readonly number[], seed: number, layout = plain): HostView =>
  inputView(shape, "f32", layout, seed);

const extent = fc.constantFrom(1, 2, 3, 5, 7, 14, 17);
const images = fc.oneof(
  fc.tuple(fc.constantFrom(1, 2, 3), fc.constantFrom(1, 2, 5, 19), extent, extent),
  fc.constantFrom([1, 1, 260, 261] as const, [2, 3, 109, 111] as const, [3, 33, 14, 14] as const),
);
const cases = { numRuns: 40 };

describe("the bits do not depend on how a range is cut", () => {
  it("batch norm", () => {
    fc.assert(
      fc.property(images, plan, fc.nat(), (shape, layout, seed) => {
        const [, C] = shape;
        const [x, gradient] = [view(shape, seed, layout), view(shape, seed + 1, layout)];
        const [weight, bias] = [view([C], seed + 2), view([C], seed + 3)];
        const statistics = view([2, C], seed + 4);
        statistics.data.forEach((value, i) => {
          statistics.data[i] = Math.abs(value) + 0.1;
        });
        const totals = view([2, C], seed + 5);
        const epsilon = { epsilon: 1e-5 };
        expectSameBits((k) => k.batchStatistics, [x], [2, C], {});
        expectSameBits((k) => k.batchNorm, [x, weight, bias, statistics], shape, epsilon, layout);
        expectSameBits((k) => k.batchNormSums, [x, gradient, statistics], [2, C], epsilon);
        const all = [x, weight, gradient, statistics, totals];
        expectSameBits((k) => k.batchNormInputGradient, all, shape, epsilon, layout);
      }),
      cases,
    );
  });

  it("sums over any axes", () => {
    fc.assert(
      fc.property(images, plan, fc.nat(), fc.subarray([0, 1, 2, 3]), (shape, layout, seed, axes) => {
        const kept = shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent));
        expectSameBits((k) => k.sum, [view(shape, seed, layout)], kept, { axes });
      }),
      cases,
    );
  });

  it("pooling", () => {
    const margins = { padding: [0, 0, 0, 0], dilation: [1, 1], ceilMode: false } as const;
    fc.assert(
      fc.property(images, plan, fc.nat(), ([N, C, P, Q], layout, seed) => {
        const paired = { ...margins, kernelSize: [2, 2], stride: [2, 2], countIncludePad: true } as const;
        const wide = { ...margins, kernelSize: [3, 3], stride: [2, 2], padding: [1, 1, 1, 1] } as const;
        const [small, even, odd] = [
          [N, C, P, Q],
          [N, C, 2 * P, 2 * Q],
          [N, C, 2 * P - 1, 2 * Q - 1],
        ];
        if (4 * N * C * P * Q > 80_000) return;
        const gradient = view(small, seed + 1);
        const [x, y] = [view(even, seed, layout), view(odd, seed, layout)];
        expectSameBits((k) => k.avgPool2d, [x], small, paired);
        expectSameBits((k) => k.avgPool2dInputGradient, [gradient], even, paired, layout);
        expectSameBits((k) => k.maxPool2d, [x], small, paired);
        expectSameBits((k) => k.maxPool2dInputGradient, [x, gradient], even, paired, layout);
        expectSameBits((k) => k.maxPool2d, [y], small, wide);
        expectSameBits((k) => k.maxPool2dInputGradient, [y, gradient], odd, wide, layout);
      }),
      cases,
    );
  });

  it("pointwise expressions, copies, joins and margins", () => {
    const [a, b] = [input(0), input(1)];
    const short = { expression: add(mul(a, parameter(0)), b), parameters: [0.3] };
    const long = { expression: mul(sigmoid(a), b), parameters: [] };
    fc.assert(
      fc.property(images, plan, plan, fc.nat(), (shape, layout, other, seed) => {
        const [N, C, H, W] = shape;
        const x = view(shape, seed, layout);
        const channel = { ...view([C], seed + 1), shape, strides: [0, 1, 0, 0] };
        for (const attributes of [short, long]) {
          expectSameBits((k) => k.pointwise, [x, view(shape, seed + 2)], shape, attributes, other);
          expectSameBits((k) => k.pointwise, [x, channel], shape, attributes, other);
        }
        expectSameBits((k) => k.copy, [x], shape, {}, other);
        expectSameBits((k) => k.concat, [x, view(shape, seed + 2)], [N, 2 * C, H, W], { axis: 1 }, other);
        const padding = [
          [0, 0],
          [1, 0],
          [2, 1],
          [0, 3],
        ] as const;
        expectSameBits((k) => k.pad, [x], [N, C + 1, H + 3, W + 3], { padding, value: 0 });
      }),
      cases,
    );
  });
});
