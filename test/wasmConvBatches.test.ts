/**
 * Convolutions and their gradients over more images than are taken at once, and over more positions than a block has:
 * the last batch is not whole, images lie side by side with margins that they share, tiles reach from one to the next,
 * and sums are carried from block to block. Freed memory is NaN, and scratch memory that of an image of NaN, so what is read between images or beyond the
 * last one shows.
 */
import { describe, expect, it } from "vitest";
import {
  conv2d,
  conv2dInputGradient,
  conv2dWeightGradient,
  full,
  Generator,
  type Padding,
  randn,
  Tensor,
} from "../src/index.ts";
import { poisonFreedMemory } from "./support/poison.ts";

poisonFreedMemory();

interface Size {
  readonly x: readonly number[];
  readonly weight: readonly number[];
  readonly stride?: number;
  readonly padding?: Padding;
  readonly groups?: number;
}

const sizes: readonly Size[] = [
  // 1600 positions and more are walked at once where nothing is packed: 2 of 28 x 28, 6 of 17 x 15, 23 of 7 x 7.
  { x: [3, 4, 28, 28], weight: [7, 4, 3, 3], padding: 1 },
  { x: [7, 5, 17, 15], weight: [13, 5, 3, 3], padding: 1 },
  { x: [27, 3, 7, 7], weight: [32, 3, 3, 3], padding: 1 },
  { x: [5, 3, 41, 37], weight: [9, 3, 5, 5], stride: 2, padding: 2 },
  // Margins on one side, and wider than the window needs.
  { x: [5, 3, 19, 21], weight: [5, 3, 3, 2], padding: [0, 2, 1, 0] },
  { x: [5, 2, 20, 20], weight: [6, 2, 3, 3], padding: [3, 4, 5, 3] },
  // Packed: 832 positions at most, 4 of 14 x 14, and 2 blocks of 31 x 29.
  { x: [7, 9, 14, 14], weight: [17, 9, 1, 1] },
  { x: [2, 3, 31, 29], weight: [5, 3, 1, 1] },
  // Steps of one block for all items, of several, and with images of which all positions fit into vectors.
  { x: [2, 77, 31, 29], weight: [150, 77, 1, 1] },
  { x: [2, 13, 40, 56], weight: [19, 13, 1, 1] },
  { x: [2, 76, 40, 56], weight: [150, 38, 1, 1], groups: 2 },
  { x: [5, 2, 12, 14], weight: [150, 2, 3, 3], padding: 1 },
  // Several images an item, of 5, 7 and 8 half tiles each.
  { x: [13, 5, 6, 6], weight: [9, 5, 3, 3], padding: 1 },
  { x: [9, 16, 7, 7], weight: [40, 16, 3, 3], padding: 1 },
  { x: [9, 12, 8, 7], weight: [12, 3, 3, 3], padding: 1, groups: 4 },
  // Strides, whose phases are put between each other: of 2 by vectors and what is left, of 3 one by one.
  { x: [2, 6, 23, 26], weight: [8, 3, 3, 3], stride: 2, padding: 1, groups: 2 },
  { x: [9, 4, 11, 9], weight: [4, 1, 3, 3], stride: 2, padding: 1, groups: 4 },
  { x: [2, 5, 17, 22], weight: [7, 5, 5, 4], stride: 3, padding: 2 },
  // The same in parts of an image, which begin between its rows.
  { x: [1, 64, 61, 60], weight: [4, 64, 3, 3], stride: 2, padding: 1 },
  // More rows than an item has, and a number of them that is not even.
  { x: [3, 131, 9, 9], weight: [7, 131, 1, 1] },
  { x: [3, 19, 9, 9], weight: [50, 19, 3, 3], padding: 1 },
  // Weight gradients in parts with sums of their own: blocks of images, batches of them, and squares.
  { x: [3, 18, 91, 89], weight: [19, 18, 1, 1] },
  { x: [9, 2, 58, 50], weight: [70, 2, 3, 3], padding: 1 },
  { x: [4, 25, 47, 49], weight: [18, 25, 3, 3], padding: 1 },
  { x: [1, 2, 380, 370], weight: [2, 2, 1, 1] },
];

/** What is wrong, as [element, got, exact]: one rounding per accumulation of the sum of magnitudes is allowed. */
function wrongOnes(got: Tensor, exact: Tensor, size: Tensor, accumulations: number): number[][] {
  const [values, should, scale] = [got, exact, size].map((tensor) => tensor.dataSync());
  const allowed = 2 ** -24 * (accumulations + 4);
  return Array.from(values, (value, i) => [i, value, should[i]]).filter(
    ([i, value, exactly]) => !(Math.abs(value - exactly) <= allowed * scale[i]),
  );
}

describe("convolutions of batches of images", () => {
  it.each(sizes)("x $x, weight $weight", ({ x: shape, weight, stride = 1, padding = 0, groups = 1 }) => {
    const generator = new Generator(7);
    const window = { stride, padding, groups };
    const noise = full([8, shape[1], shape[2] + 9 * stride, shape[3] + 9 * stride], Number.NaN);
    const ones = full(weight, 1);
    for (const N of [1, 8]) {
      const y = conv2d(noise.slice(0, 0, N), ones, window);
      conv2dInputGradient(y, ones, [N, ...noise.shape.slice(1)], window);
      conv2dWeightGradient(noise.slice(0, 0, N), y, weight, window);
    }
    const [x, w] = [randn(shape, { generator }), randn(weight, { generator })];
    const y = conv2d(x, w, window);
    const gradient = randn(y.shape, { generator });
    const [x64, w64, gradient64] = [x, w, gradient].map((tensor) => tensor.to("f64"));
    const [xSize, wSize, gradientSize] = [x64, w64, gradient64].map((tensor) => tensor.abs());
    const depth = weight[1] * weight[2] * weight[3];
    expect(wrongOnes(y, conv2d(x64, w64, window), conv2d(xSize, wSize, window), depth)).toEqual([]);
    const back = (g: Tensor, v: Tensor) => conv2dInputGradient(g, v, shape, window);
    expect(
      wrongOnes(
        ...[back(gradient, w), back(gradient64, w64), back(gradientSize, wSize)],
        (depth / weight[1]) * (weight[0] / groups),
      ),
    ).toEqual([]);
    const across = (v: Tensor, g: Tensor) => conv2dWeightGradient(v, g, weight, window);
    expect(
      wrongOnes(
        ...[across(x, gradient), across(x64, gradient64), across(xSize, gradientSize)],
        y.size / y.shape[1],
      ),
    ).toEqual([]);
  });
});

describe("the weight gradient of a large image", () => {
  it.each([1, 3, 5])("writes nothing beside its weights: %s", (filters) => {
    const generator = new Generator(11);
    const x = randn([1, 1, 640, 640], { generator });
    const gradient = randn([1, filters, 640, 640], { generator });
    const around = full([filters + 16], 7);
    const output = new Tensor(around.storage, [filters, 1, 1, 1], [1, 1, 1, 1], 8);
    around.backend.run({
      kernel: "conv2dWeightGradient",
      reference: () => expect.unreachable("there is a kernel for this"),
      inputs: [x, gradient],
      output,
      attributes: {
        ...{ stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups: 1 },
        weightShape: output.shape,
      },
    });
    const values = [...around.dataSync()];
    const found = values.splice(8, filters);
    expect(values).toEqual(values.map(() => 7));
    const exact = conv2dWeightGradient(x.to("f64"), gradient.to("f64"), output.shape).dataSync();
    found.forEach((value, i) => {
      expect(value).toBeCloseTo(exact[i], 1);
    });
  });
});
