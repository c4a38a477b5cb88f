/**
 * Weight gradients over more images than are walked at once, and over more positions than a block has: the last batch
 * is not whole, the images of one lie side by side with margins that they share, and sums are carried from block to
 * block. Freed memory is NaN, and scratch memory that of an image of NaN, so what is read between images or beyond the
 * last one shows.
 */
import { describe, expect, it } from "vitest";
import { conv2dWeightGradient, full, Generator, type Padding, randn } from "../src/index.ts";
import { poisonFreedMemory } from "./support/poison.ts";

poisonFreedMemory();

interface Size {
  readonly x: readonly number[];
  readonly weight: readonly number[];
  readonly stride?: number;
  readonly padding?: Padding;
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
  { x: [5, 2, 12, 14], weight: [150, 2, 3, 3], padding: 1 },
  // More rows than an item has, and a number of them that is not even.
  { x: [3, 131, 9, 9], weight: [7, 131, 1, 1] },
  { x: [3, 19, 9, 9], weight: [50, 19, 3, 3], padding: 1 },
];

describe("weight gradients over batches of images", () => {
  it.each(sizes)("x $x, weight $weight", ({ x: shape, weight, stride = 1, padding = 0 }) => {
    const generator = new Generator(7);
    const [top, bottom, left, right] = typeof padding === "object" ? padding : Array(4).fill(padding);
    const rows = Math.floor((shape[2] + top + bottom - weight[2]) / stride) + 1;
    const columns = Math.floor((shape[3] + left + right - weight[3]) / stride) + 1;
    const x = randn(shape, { generator });
    const gradient = randn([shape[0], weight[0], rows, columns], { generator });
    const window = { stride, padding };
    for (const N of [1, 8]) {
      const noise = full([N, shape[1], shape[2] + 9 * stride, shape[3] + 9 * stride], Number.NaN);
      conv2dWeightGradient(noise, full([N, weight[0], rows + 9, columns + 9], 1), weight, window);
    }
    const got = conv2dWeightGradient(x, gradient, weight, window).dataSync();
    const [x64, gradient64] = [x.to("f64"), gradient.to("f64")];
    const exact = conv2dWeightGradient(x64, gradient64, weight, window).dataSync();
    const size = conv2dWeightGradient(x64.abs(), gradient64.abs(), weight, window).dataSync();
    // One rounding per accumulation, of the sum of magnitudes.
    const allowed = 2 ** -24 * (shape[0] * rows * columns + 4);
    const wrong = Array.from(got, (value, i) => [i, value, exact[i]]).filter(
      ([i, value, should]) => !(Math.abs(value - should) <= allowed * size[i]),
    );
    expect(wrong).toEqual([]);
  });
});
