/**
 * 3x3 convolutions with many channels, which the WebAssembly kernels compute by Winograd's F(2x2, 3x3), against the
 * plain sum in f64. Allowed is what rounding can do to the transforms: (C + 16) · 2⁻²⁴ times the same expression with
 * magnitudes for values, |A|ᵀ [ (|G| |g| |G|ᵀ) ⊙ (|B|ᵀ |d| |B|) ] |A|, where C sums of products, 4 additions of
 * pixels, 5 operations on weights and 4 additions of results follow each other.
 *
 * Their weight gradients add up as many products as there are squares T in all images, by F(3x3, 2x2) with the same
 * matrices turned about: (T + 16) · 2⁻²⁴ times |G|ᵀ Σ [ (|A|ᵀ |g| |A|) ⊙ (|B|ᵀ |d| |B|) ] |G|.
 */
import { describe, expect, it } from "vitest";
import {
  batchNorm,
  conv2d,
  conv2dInputGradient,
  conv2dWeightGradient,
  full,
  Generator,
  grad,
  normReluConv2d,
  randn,
  relu,
  type Tensor,
} from "../src/index.ts";
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

const across = (m: Matrix): number[][] => m[0].map((_, j) => m.map((row) => row[j]));

/** m x mᵀ */
function transformed(m: Matrix, x: Matrix): number[][] {
  const product = (a: Matrix, b: Matrix) =>
    a.map((row) => b[0].map((_, j) => row.reduce((sum, value, k) => sum + value * b[k][j], 0)));
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

const grid = <T>(rows: number, columns: number, value: (r: number, s: number) => T): T[][] =>
  Array.from({ length: rows }, (_, r) => Array.from({ length: columns }, (_, s) => value(r, s)));

/** The expression above for every element of a result of shape [N, K, P, Q], in row-major order. */
function bounds(
  x: Image,
  filters: Image,
  shape: readonly number[],
  [top, left]: readonly number[],
): number[] {
  const [N, K, P, Q] = shape;
  const C = x.shape[1];
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

/** The second expression above for every weight, in row-major order, and T. */
function weightBounds(
  x: Image,
  gradient: Image,
  [top, left]: readonly number[],
): { readonly allowed: number[]; readonly squares: number } {
  const [N, K, P, Q] = gradient.shape;
  const C = x.shape[1];
  const sums = grid(K, C, () => grid(4, 4, () => 0));
  let squares = 0;
  for (let n = 0; n < N; n++)
    for (let p = 0; p < P; p += 2)
      for (let q = 0; q < Q; q += 2) {
        squares++;
        const given = (image: Image, size: number, h: number, w: number, matrix: Matrix) =>
          Array.from({ length: image.shape[1] }, (_, c) =>
            transformed(
              matrix,
              grid(size, size, (r, s) => image.at(n, c, h + r, w + s)),
            ),
          );
        const ofPixels = given(x, 4, p - top, q - left, pixels);
        for (const [k, of] of given(gradient, 2, p, q, across(outputs)).entries())
          for (const [c, square] of ofPixels.entries())
            for (const [r, row] of sums[k][c].entries())
              for (const s of row.keys()) row[s] += of[r][s] * square[r][s];
      }
  return { allowed: sums.flat().flatMap((sum) => transformed(across(weights), sum).flat()), squares };
}

/** The elements that are further from the exact ones than allowed. */
function wrongOnes(got: Tensor, exact: Tensor, allowed: readonly number[], depth: number): number[][] {
  const [values, should] = [got.dataSync(), exact.dataSync()];
  return Array.from(values, (value, i) => [i, value, should[i]]).filter(
    ([i, value, exactly]) => !(Math.abs(value - exactly) <= 2 ** -24 * (depth + 16) * allowed[i]),
  );
}

/** Every number, zeros without their sign. */
const numbers = (tensor: Tensor): Float64Array => Float64Array.from(tensor.dataSync(), (value) => value + 0);

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
  // Small images, many a block, in two blocks of unlike numbers.
  { x: [25, 25, 7, 7], results: 17, padding: [1, 1, 1, 1] },
  // As narrow as images may be, and outputs, with rows of one square.
  { x: [3, 24, 5, 4], results: 16, padding: [1, 1, 1, 1] },
  { x: [2, 16, 3, 6], results: 33, padding: [0, 0, 0, 0] },
  // Results of whose last group five are not there.
  { x: [3, 19, 7, 6], results: 27, padding: [1, 1, 1, 1] },
  // Few channels and many filters, which items share.
  { x: [2, 16, 9, 12], results: 70, padding: [1, 1, 1, 1] },
  // More than 128 channels, of which an item takes several groups.
  { x: [1, 131, 6, 5], results: 16, padding: [1, 1, 1, 1] },
  // A row of more squares than a block is meant to have.
  { x: [1, 16, 3, 411], results: 16, padding: [1, 1, 1, 1] },
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

  it.each(cases)("weight gradient of x $x to $results results, padding $padding", (given) => {
    const { x: shape, results, padding } = given;
    const generator = new Generator(12);
    const [N, C, H, W] = shape;
    const window = { padding: [...padding] as [number, number, number, number] };
    // Leaves NaN in the scratch memory that no result may read.
    const noise = full([8, C, 60, 60], Number.NaN);
    conv2dWeightGradient(
      noise,
      conv2d(noise, full([results, C, 3, 3], 1), window),
      [results, C, 3, 3],
      window,
    );

    const x = randn([N, C, H, W], { generator });
    const { shape: outputs } = conv2d(x, full([results, C, 3, 3], 1), window);
    const gradient = randn(outputs, { generator });
    const back = (v: Tensor, g: Tensor) => conv2dWeightGradient(v, g, [results, C, 3, 3], window);
    const [top, , left] = padding;
    const { allowed, squares } = weightBounds(magnitudes(x), magnitudes(gradient), [top, left]);
    expect(wrongOnes(back(x, gradient), back(x.to("f64"), gradient.to("f64")), allowed, squares)).toEqual([]);
  });

  it.each(cases)("with norm and ReLU have the bits of the ops apart, x $x to $results", (given) => {
    const { x: shape, results, padding } = given;
    const generator = new Generator(13);
    const window = { padding: [...padding] as [number, number, number, number] };
    const wider = randn([shape[0], shape[1] + 3, shape[2], shape[3]], { generator });
    const operands = [
      wider.slice(1, 3),
      randn([shape[1]], { generator }),
      randn([shape[1]], { generator }),
      randn([results, shape[1], 3, 3], { generator }),
    ];
    for (const tensor of operands) tensor.requiresGrad = true;
    const [x, weight, bias, filter] = operands;
    const [fused, apart] = [
      normReluConv2d(x, filter, { weight, bias, ...window }),
      conv2d(relu(batchNorm(x, weight, bias)), filter, window),
    ].map((y) => {
      const gradients = [randn(y.shape, { generator: new Generator(14) })];
      return [y, ...grad([y], operands, { gradients })].map(numbers);
    });
    expect(fused).toEqual(apart);
  });
});
