/**
 * The WebAssembly convolutions against the typed-array loops in f64, over odd, prime and tiny sizes, strides that do
 * not divide, margins on one side, groups, and channel slices of wider memory. Freed memory is NaN, so whatever a
 * kernel reads beyond its operands shows.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  batchNorm,
  conv2d,
  conv2dInputGradient,
  conv2dWeightGradient,
  Generator,
  grad,
  normReluConv2d,
  type Padding,
  randn,
  relu,
  type Tensor,
} from "../src/index.ts";
import { poisonFreedMemory } from "./support/poison.ts";

poisonFreedMemory();

interface Case {
  readonly x: readonly number[];
  readonly weight: readonly number[];
  readonly stride: readonly [number, number];
  readonly padding: readonly [number, number, number, number];
  readonly dilation: readonly [number, number];
  readonly groups: number;
  /** Channels of the memory that x is a slice of, beyond its own. */
  readonly wider: number;
  readonly seed: number;
}

const cases: fc.Arbitrary<Case> = fc
  .record({
    images: fc.integer({ min: 1, max: 3 }),
    groups: fc.constantFrom(1, 1, 1, 2, 3),
    inputs: fc.integer({ min: 1, max: 5 }),
    outputs: fc.integer({ min: 1, max: 9 }),
    window: fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 5 })),
    stride: fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 })),
    dilation: fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 })),
    padding: fc.tuple(fc.nat(3), fc.nat(3), fc.nat(3), fc.nat(3)),
    room: fc.tuple(fc.nat(16), fc.nat(16)),
    wider: fc.constantFrom(0, 0, 3),
    seed: fc.nat(1e6),
  })
  .map(({ images, groups, inputs, outputs, window, stride, dilation, padding, room, wider, seed }) => {
    const least = (axis: 0 | 1) =>
      Math.max(1, dilation[axis] * (window[axis] - 1) + 1 - padding[2 * axis] - padding[2 * axis + 1]);
    return {
      x: [images, inputs * groups, least(0) + room[0], least(1) + room[1]],
      weight: [outputs * groups, inputs, ...window],
      ...{ stride, dilation, padding, groups, wider, seed },
    };
  });

/** Draws of the sizes that networks have: pointwise in place, 3x3 with a margin, the stem's stride. */
const common: readonly Partial<Case>[] = [
  { x: [2, 16, 14, 14], weight: [8, 16, 3, 3], padding: [1, 1, 1, 1] },
  { x: [2, 16, 7, 7], weight: [12, 16, 1, 1], wider: 3 },
  { x: [1, 3, 3, 4], weight: [5, 3, 1, 1] },
  { x: [1, 3, 29, 28], weight: [4, 3, 7, 7], stride: [2, 2], padding: [3, 3, 3, 3] },
  { x: [2, 6, 9, 9], weight: [6, 1, 3, 3], padding: [1, 1, 1, 1], groups: 6 },
  { x: [1, 2, 6, 6], weight: [3, 2, 1, 1], stride: [2, 2] },
  // Few positions and many filters, which are dealt out in parts.
  { x: [1, 9, 7, 7], weight: [71, 9, 1, 1] },
  { x: [1, 5, 6, 7], weight: [130, 5, 3, 3], padding: [1, 1, 1, 1] },
  // Weight gradients with channels last: several blocks of small images, and groups that are not whole.
  { x: [23, 25, 7, 7], weight: [19, 25, 1, 1], wider: 3 },
  { x: [3, 79, 1, 4], weight: [33, 79, 1, 1] },
  { x: [2, 16, 8, 8], weight: [70, 16, 1, 1] },
  // Deeper than one block, and more positions than one item.
  { x: [1, 40, 26, 25], weight: [7, 40, 3, 3], padding: [1, 1, 1, 1] },
  { x: [2, 331, 19, 31], weight: [13, 331, 1, 1] },
];

function operands({ x, weight, wider, seed }: Case): { image: Tensor; kernel: Tensor } {
  const generator = new Generator(seed);
  const memory = randn([x[0], x[1] + wider, x[2], x[3]], { generator });
  return { image: memory.slice(1, wider, wider + x[1]), kernel: randn(weight, { generator }) };
}

/** |fast − exact| is at most one rounding per accumulation of the sum of magnitudes. */
function expectWithin(fast: Tensor, exact: Tensor, magnitude: Tensor, accumulations: number): void {
  const [got, want, scale] = [fast, exact, magnitude].map((tensor) => tensor.dataSync());
  const allowed = 2 ** -24 * (accumulations + 4);
  for (let i = 0; i < want.length; i++)
    if (!(Math.abs(got[i] - want[i]) <= allowed * scale[i] + 1e-30))
      expect.fail(`element ${i}: ${got[i]}, should be ${want[i]} within ${allowed * scale[i]}`);
}

function check(given: Case): void {
  const { stride, dilation, groups } = given;
  const padding: Padding = [...given.padding];
  const window = { stride, dilation, groups, padding };
  const { image, kernel } = operands(given);
  const [x, w] = [image.to("f64"), kernel.to("f64")];
  const depth = given.weight.slice(1).reduce((product, extent) => product * extent, 1);

  const y = conv2d(image, kernel, window);
  expectWithin(y, conv2d(x, w, window), conv2d(x.abs(), w.abs(), window), depth);

  const gradient = randn(y.shape, { generator: new Generator(given.seed + 1) });
  const g = gradient.to("f64");
  expectWithin(
    conv2dInputGradient(gradient, kernel, image.shape, window),
    conv2dInputGradient(g, w, image.shape, window),
    conv2dInputGradient(g.abs(), w.abs(), image.shape, window),
    (depth / given.weight[1]) * (given.weight[0] / groups),
  );
  expectWithin(
    conv2dWeightGradient(image, gradient, kernel.shape, window),
    conv2dWeightGradient(x, g, kernel.shape, window),
    conv2dWeightGradient(x.abs(), g.abs(), kernel.shape, window),
    y.size / y.shape[1],
  );
}

describe("a stride beyond the image", () => {
  it("gives the first window alone, whatever its size", () => {
    const x = randn([2, 3, 5, 4], { requiresGrad: true });
    const weight = randn([2, 3, 3, 3], { requiresGrad: true });
    const [far, near] = [2 ** 31, 7].map((stride) => {
      const y = conv2d(x, weight, { stride, padding: 1 });
      return [y, ...grad(y.sum(), [x, weight])].map((result) => result.toArraySync());
    });
    expect(far).toEqual(near);
    expect(conv2d(x, weight, { stride: 2 ** 31, padding: 1 }).shape).toEqual([2, 2, 1, 1]);
  });
});

describe("WebAssembly convolutions", () => {
  it("agree with the loops over drawn sizes", () => {
    fc.assert(fc.property(cases, check), { numRuns: 300, seed: 1 });
  });

  it.each(common)("agree with the loops at %o", (sizes) => {
    check({
      ...{
        x: [],
        weight: [],
        stride: [1, 1],
        padding: [0, 0, 0, 0],
        dilation: [1, 1],
        groups: 1,
        wider: 0,
        seed: 7,
      },
      ...sizes,
    });
  });

  it("add the bias to every output of its channel", () => {
    const [image, kernel, bias] = [randn([2, 3, 5, 7]), randn([4, 3, 3, 3]), randn([4])];
    const difference = conv2d(image, kernel, { bias }).sub(conv2d(image, kernel));
    const expected = bias.reshape([1, 4, 1, 1]).expand([2, 4, 3, 5]);
    for (const [i, value] of difference.dataSync().entries())
      expect(value).toBeCloseTo(expected.dataSync()[i], 5);
  });

  it("have the bits of norm, ReLU and convolution apart where weight gradients put channels last", () => {
    const generator = new Generator(8);
    const operands = [[9, 25, 7, 7], [25], [25], [19, 25, 1, 1]].map((shape) => randn(shape, { generator }));
    for (const tensor of operands) tensor.requiresGrad = true;
    const [x, weight, bias, filter] = operands;
    const [fused, apart] = [
      normReluConv2d(x, filter, { weight, bias }),
      conv2d(relu(batchNorm(x, weight, bias)), filter),
    ].map((y) => {
      const gradients = [randn(y.shape, { generator: new Generator(9) })];
      // Zeros without their sign.
      return grad([y], operands, { gradients }).map((g) => Array.from(g.dataSync(), (value) => value + 0));
    });
    expect(fused).toEqual(apart);
  });
});
