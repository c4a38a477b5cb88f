/**
 * A convolution with bias and ReLU in one op has the bits of the two ops one after the other, forward and in every
 * gradient; its pass over the output touches nothing else, however it is cut.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { HostView } from "../src/backends/backend.ts";
import { loops } from "../src/backends/cpu/loops/index.ts";
import { conv2dReluKernels } from "../src/backends/cpu/wasm/kernels/conv2dRelu.ts";
import {
  conv2d,
  conv2dRelu,
  Generator,
  grad,
  type Padding,
  randn,
  relu,
  type Tensor,
  tensor,
} from "../src/index.ts";
import { inputView, outputView, plain } from "./hostViews.ts";
import { poisonFreedMemory } from "./support/poison.ts";
import { workplace } from "./support/sharedViews.ts";

poisonFreedMemory();

const small = (min: number, max: number) => fc.integer({ min, max });
const drawn = fc.record({
  images: small(1, 3),
  groups: fc.constantFrom(1, 1, 2),
  inputs: small(1, 5),
  outputs: small(1, 9),
  window: fc.constantFrom<[number, number]>([1, 1], [3, 3], [2, 3]),
  stride: fc.tuple(small(1, 2), small(1, 2)),
  padding: fc.tuple(fc.nat(2), fc.nat(2), fc.nat(2), fc.nat(2)),
  extent: fc.tuple(small(3, 21), small(3, 21)),
  biased: fc.boolean(),
  dtype: fc.constantFrom<"f32" | "f64">("f32", "f32", "f64"),
  seed: fc.nat(1e6),
});
type Drawn = typeof drawn extends fc.Arbitrary<infer Value> ? Value : never;

/** Every number, zeros without their sign. */
const numbers = (values: Tensor): Float64Array => Float64Array.from(values.dataSync(), (value) => value + 0);

describe("conv2dRelu", () => {
  it("has the bits of conv2d and relu, forward and backward", () => {
    const check = ({
      images,
      groups,
      inputs,
      outputs,
      window,
      extent,
      biased,
      dtype,
      seed,
      ...rest
    }: Drawn) => {
      const generator = new Generator(seed);
      const make = (shape: readonly number[]) => {
        const made = randn(shape, { generator }).to(dtype);
        made.requiresGrad = true;
        return made;
      };
      const x = make([images, inputs * groups, ...extent]);
      const weight = make([outputs * groups, inputs, ...window]);
      const bias = make([outputs * groups]);
      const padding: Padding = [...rest.padding];
      const options = { stride: rest.stride, padding, groups, ...(biased ? { bias } : {}) };
      const apart = relu(conv2d(x, weight, options));
      const gradients = [randn(apart.shape, { generator }).to(dtype)];
      const leaves = biased ? [x, weight, bias] : [x, weight];
      const of = (y: Tensor) => [y, ...grad([y], leaves, { gradients })].map(numbers);
      expect(of(conv2dRelu(x, weight, options))).toEqual(of(apart));
    };
    fc.assert(fc.property(drawn, check), { numRuns: 150, seed: 5 });
  });

  it("keeps NaN, and cuts off at 0 whatever the bias", () => {
    const x = tensor([[[[Number.NaN, -1, 2, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY]]]]);
    const y = conv2dRelu(x, tensor([[[[1]]]]), { bias: tensor([-1]) });
    expect(Array.from(y.dataSync())).toEqual([Number.NaN, 0, 1, 0, Number.POSITIVE_INFINITY]);
  });

  it("names a bias that does not fit", () => {
    expect(() => conv2dRelu(randn([2, 3, 4, 4]), randn([5, 3, 1, 1]), { bias: randn([3]) })).toThrow(
      "conv2dRelu: bias [3] f32 must be [5] f32, one per output channel",
    );
  });

  it("writes nothing beyond outputs with gaps, and every element once", () => {
    const { runtime, share, clear } = workplace(false);
    const kernels = conv2dReluKernels(runtime, loops.conv2d);
    const attributes = { stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups: 1 } as const;
    const gaps = fc.constantFrom([0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 2]);
    const sizes = fc.tuple(small(1, 3), small(1, 4), small(1, 7), small(1, 37));
    const check = (shape: readonly number[], gap: readonly number[], seed: number) => {
      clear();
      const [N, K, H, W] = shape;
      const plan = { ...plain, before: [...gap, 0], after: [...gap].reverse().concat(0) };
      const operands = [[N, 2, H, W], [K, 2, 1, 1], [K]].map((size, i) =>
        inputView(size, "f32", plain, seed + i),
      );
      const [fast, slow] = [outputView(shape, "f32", plan), outputView(shape, "f32", plan)];
      const output: HostView = share(fast);
      kernels.conv2dRelu(operands.map(share), output, attributes);
      loops.conv2dRelu(operands, slow, attributes);
      const written = (view: HostView) => Float64Array.from(view.data, (value) => Math.fround(value) + 0);
      const [got, wanted] = [written(output), written(slow)];
      for (let i = 0; i < wanted.length; i++)
        if (Number.isNaN(wanted[i])) expect(got[i]).toBeNaN();
        else expect(Math.abs(got[i] - wanted[i])).toBeLessThanOrEqual(2 ** -22 * (Math.abs(wanted[i]) + 3));
    };
    fc.assert(fc.property(sizes, gaps, fc.nat(1e6), check), { numRuns: 150, seed: 9 });
  });
});
