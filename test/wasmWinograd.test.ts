/**
 * 3x3 convolutions with many channels, which the WebAssembly kernels compute by Winograd's F(2x2, 3x3), against the
 * plain sum in f64. Allowed is what rounding can do to the transforms: (C + 16) · 2⁻²⁴ times the same expression with
 * magnitudes for values, |A|ᵀ [ (|G| |g| |G|ᵀ) ⊙ (|B|ᵀ |d| |B|) ] |A|, where C sums of products, 4 additions of
 * pixels, 5 operations on weights and 4 additions of results follow each other.
 */
import { describe, expect, it } from "vitest";
import { conv2d, conv2dInputGradient, full, Generator, randn, type Tensor } from "../src/index.ts";
import { poisonFreedMemory } from "./support/poison.ts";

poisonFreedMemory();

type Matrix = readonly (readonly number[])[];

const weights: Matrix = [
  [1, 0, 0],
  [0.5, 0.5, 0.5],
  [0.5, 0.5, 0.5],
  [0, 0, 1],
];
const pixels: Matrix = [
  [1, 0, 1, 0],
  [0, 1, 1, 0],
  [0, 1, 1, 0],
  [0, 1, 0, 1],
];
const outputs: Matrix = [
  [1, 1, 1, 0],
  [0, 1, 1, 1],
];

/** m x mᵀ */
function transformed(m: Matrix, x: Matrix): number[][] {
  const product = (a: Matrix, b: Matrix) =>
    a.map((row) => b[0].map((_, j) => row.reduce((sum, value, k) => sum + value * b[k][j], 0)));
  const across = (a: Matrix) => a[0].map((_, j) => a.map((row) => row[j]));
  return product(product(m, x), across(m));
}

interface Image {
  readonly shape: readonly number[];
  readonly at: (n: number, c: number, h: number, w: number) => number;
}

function magnitudes(x: Tensor): Image {
  const [, C, H, W] = x.shape;
  const data = x.abs().contiguous().dataSync();
  const at = (n: number, c: number, h: number, w: number) =>
    h < 0 || w < 0 || h >= H || w >= W ? 0 : data[((n * C + c) * H + h) * W + w];
  return { shape: x.shape, at };
}

/** The expression above for every element of a result of shape [N, K, P, Q], in row-major order. */
function bounds(
  x: Image,
  filters: Image,
  shape: readonly number[],
  [top, left]: readonly number[],
): number[] {
  const [N, K, P, Q] = shape;
  const C = x.shape[1];
  const grid = <T>(rows: number, columns: number, value: (r: number, s: number) => T) =>
    Array.from({ length: rows }, (_, r) => Array.from({ length: columns }, (_, s) => value(r, s)));
  const ofFilter = grid(K, C, (k, c) =>
    transformed(
      weights,
      grid(3, 3, (r, s) => filters.at(k, c, r, s)),
    ),
  );
  const result = new Array<number>(N * K * P * Q).fill(0);
  for (let n = 0; n < N; n++)
    for (let p = 0; p < P; p += 2)
      for (let q = 0; q < Q; q += 2) {
        const squares = Array.from({ length: C }, (_, c) =>
          transformed(
            pixels,
            grid(4, 4, (r, s) => x.at(n, c, p + r - top, q + s - left)),
          ),
        );
        for (let k = 0; k < K; k++) {
          const sums = grid(4, 4, (r, s) =>
            squares.reduce((sum, square, c) => sum + square[r][s] * ofFilter[k][c][r][s], 0),
          );
          for (const [r, row] of transformed(outputs, sums).entries())
            for (const [s, value] of row.entries())
              if (p + r < P && q + s < Q) result[((n * K + k) * P + p + r) * Q + q + s] = value;
        }
      }
  return result;
}

/** The elements that are further from the exact ones than allowed. */
function wrongOnes(got: Tensor, exact: Tensor, allowed: readonly number[], depth: number): number[][] {
  const [values, should] = [got.dataSync(), exact.dataSync()];
  return Array.from(values, (value, i) => [i, value, should[i]]).filter(
    ([i, value, exactly]) => !(Math.abs(value - exactly) <= 2 ** -24 * (depth + 16) * allowed[i]),
  );
}

const cases = [
  { x: [1, 16, 14, 14], results: 16, padding: [1, 1, 1, 1] },
  // Odd sizes, whose last squares are half outside, and panels of 5 and 4 rows.
  { x: [2, 25, 15, 17], results: 29, padding: [1, 1, 1, 1] },
  // Several images an item, the last one with fewer.
  { x: [9, 24, 10, 11], results: 24, padding: [1, 1, 1, 1] },
  // More rows than one item has.
  { x: [1, 37, 43, 41], results: 26, padding: [1, 1, 1, 1] },
  { x: [1, 24, 18, 19], results: 24, padding: [0, 0, 0, 0] },
  { x: [1, 24, 17, 18], results: 24, padding: [2, 0, 1, 2] },
  { x: [1, 24, 15, 14], results: 24, padding: [3, 2, 3, 4] },
] as const;

describe("3x3 convolutions by squares", () => {
  it.each(cases)("x $x to $results results, padding $padding", ({ x: shape, results, padding }) => {
    const generator = new Generator(11);
    const [N, C, H, W] = shape;
    const window = { padding: [...padding] as [number, number, number, number] };
    // Leaves NaN in the scratch memory that no result may read.
    const noise = conv2d(full([8, C, 60, 60], Number.NaN), full([results, C, 3, 3], 1), window);
    conv2dInputGradient(noise, full([results, C, 3, 3], 1), [8, C, 60, 60], window);

    const [x, w] = [randn([N, C, H, W], { generator }), randn([results, C, 3, 3], { generator })];
    const y = conv2d(x, w, window);
    const exact = conv2d(x.to("f64"), w.to("f64"), window);
    const [top, , left] = padding;
    expect(wrongOnes(y, exact, bounds(magnitudes(x), magnitudes(w), y.shape, [top, left]), C)).toEqual([]);

    const gradient = randn(y.shape, { generator });
    const back = conv2dInputGradient(gradient, w, shape, window);
    const exactBack = conv2dInputGradient(gradient.to("f64"), w.to("f64"), shape, window);
    const filters = magnitudes(w);
    const turned: Image = {
      shape: [C, results, 3, 3],
      at: (c, k, r, s) => filters.at(k, c, 2 - r, 2 - s),
    };
    const allowed = bounds(magnitudes(gradient), turned, shape, [2 - top, 2 - left]);
    expect(wrongOnes(back, exactBack, allowed, results)).toEqual([]);
  });
});
