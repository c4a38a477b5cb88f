/**
 * A convolution that applies norm and ReLU on its way has the bits of the three ops one after the other, forward and
 * in every gradient, whatever the window, the layout, and what freed memory holds.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createCpuBackend } from "../src/backends/cpu/index.ts";
import {
  batchNorm,
  conv2d,
  defaultBackend,
  Generator,
  grad,
  normReluConv2d,
  onOp,
  type Padding,
  randn,
  relu,
  type Tensor,
} from "../src/index.ts";
import { poisonFreedMemory } from "./support/poison.ts";

poisonFreedMemory();

const small = (min: number, max: number) => fc.integer({ min, max });
const drawn = fc.record({
  images: small(2, 4),
  groups: fc.constantFrom(1, 1, 2),
  inputs: small(1, 6),
  outputs: small(1, 9),
  window: fc.constantFrom<[number, number]>([1, 1], [1, 1], [3, 3], [2, 3]),
  stride: fc.tuple(small(1, 2), small(1, 2)),
  dilation: fc.constantFrom(1, 1, 2),
  padding: fc.tuple(fc.nat(2), fc.nat(2), fc.nat(2), fc.nat(2)),
  extent: fc.tuple(small(5, 21), small(5, 21)),
  wider: fc.constantFrom(0, 3),
  seed: fc.nat(1e6),
});

type Drawn = typeof drawn extends fc.Arbitrary<infer Value> ? Value : never;

/** Every number, zeros without their sign. */
const numbers = (tensor: Tensor): Float64Array => Float64Array.from(tensor.dataSync(), (value) => value + 0);

/** Ops that ran while `body` did. */
function opsOf(body: () => void): Set<string> {
  const seen = new Set<string>();
  const stop = onOp(({ op }) => void seen.add(op));
  body();
  stop();
  return seen;
}

describe("normReluConv2d", () => {
  const loops = createCpuBackend({ wasm: false });
  it.each([
    ["by the fast kernels", defaultBackend()],
    ["by plain loops", loops],
  ])("has the bits of batchNorm, relu and conv2d, forward and backward, %s", (_, on) => {
    const check = ({ images, groups, inputs, outputs, window, extent, wider, seed, ...rest }: Drawn) => {
      const generator = new Generator(seed);
      const C = inputs * groups;
      const options = { generator, backend: on };
      const memory = randn([images, C + wider, ...extent], options);
      const [x, weight, bias, filter] = [
        memory.slice(1, wider, wider + C),
        randn([C], options),
        randn([C], options),
        randn([outputs * groups, inputs, ...window], options),
      ].map((tensor) => {
        tensor.requiresGrad = true;
        return tensor;
      });
      const padding: Padding = [...rest.padding];
      const sliding = { stride: rest.stride, dilation: rest.dilation, padding, groups };
      const fused = normReluConv2d(x, filter, { weight, bias, ...sliding });
      const apart = conv2d(relu(batchNorm(x, weight, bias)), filter, sliding);
      const gradients = [randn(apart.shape, options)];
      const of = (y: Tensor) => [y, ...grad([y], [x, weight, bias, filter], { gradients })];
      const [one, three] = [of(fused), of(apart)].map((tensors) => tensors.map(numbers));
      expect(one).toEqual(three);
    };
    fc.assert(fc.property(drawn, check), { numRuns: 150, seed: 6 });
  });

  it("keeps neither the norm nor the ReLU for the backward pass", () => {
    const [x, weight, bias, filter] = [randn([2, 3, 8, 8]), randn([3]), randn([3]), randn([4, 3, 3, 3])];
    for (const tensor of [x, weight, bias, filter]) tensor.requiresGrad = true;
    const seen = opsOf(() => {
      grad([normReluConv2d(x, filter, { weight, bias, padding: 1 }).sum()], [x, weight, bias, filter]);
    });
    for (const op of ["relu", "batchNorm", "conv2d"]) expect(seen).not.toContain(op);
    expect(seen).toContain("normReluConv2d");
  });

  it("computes no gradient of a filter that nobody asks for, and one that is asked for once", () => {
    const [x, weight, bias, filter] = [randn([2, 3, 8, 8]), randn([3]), randn([3]), randn([4, 3, 3, 3])];
    for (const tensor of [x, weight, bias, filter]) tensor.requiresGrad = true;
    const timesFor = (wanted: Tensor[]): number => {
      let times = 0;
      const loss = normReluConv2d(x, filter, { weight, bias, padding: 1 }).sum();
      const stop = onOp(({ op }) => {
        if (op === "normReluConv2dWeightGradient") times++;
      });
      grad([loss], wanted);
      stop();
      return times;
    };
    expect(timesFor([x, weight, bias])).toBe(0);
    expect(timesFor([filter])).toBe(1);
    expect(timesFor([x, weight, bias, filter])).toBe(1);
  });

  it("names what does not fit", () => {
    const [x, weight, bias] = [randn([2, 3, 8, 8]), randn([3]), randn([3])];
    expect(() => normReluConv2d(x, randn([4, 2, 3, 3]), { weight, bias })).toThrow(
      "conv2d: weight [4, 2, 3, 3] expects 2 input channels per group, input [2, 3, 8, 8] has 3",
    );
    expect(() => normReluConv2d(x, randn([4, 3, 3, 3]), { weight: randn([2]), bias })).toThrow(
      "normReluConv2d: weight is [2] f32, input [2, 3, 8, 8] f32 has 3 channels",
    );
    expect(() => normReluConv2d(randn([3, 3]), randn([4, 3, 3, 3]), { weight, bias })).toThrow(
      "normReluConv2d: input [3, 3] must be [N, C, H, W]",
    );
  });
});
