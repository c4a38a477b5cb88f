/** Products, joins, lookups, the classification loss and dropout: broadcasting, and the texts of their errors. */
import { describe, expect, it } from "vitest";
import { backward } from "../../src/autograd/engine.ts";
import { concat, stack } from "../../src/autograd/ops/concat.ts";
import { crossEntropy } from "../../src/autograd/ops/crossEntropy.ts";
import { dropout } from "../../src/autograd/ops/dropout.ts";
import { gather, scatterAdd } from "../../src/autograd/ops/gather.ts";
import { matmul } from "../../src/autograd/ops/matmul.ts";
import { permute } from "../../src/autograd/ops/permute.ts";
import { sum } from "../../src/autograd/ops/sum.ts";
import { ones, rand, scalarLike, tensor, zeros } from "../../src/tensor/create.ts";
import { Generator } from "../../src/tensor/generator.ts";

const indices = (values: number[] | number[][]) => tensor(values, { dtype: "i32" });

describe("matmul", () => {
  it("of two vectors is a scalar, and a strided stack against one matrix goes image by image", () => {
    expect(matmul(tensor([1, 2, 3]), tensor([4, 5, 6])).itemSync()).toBe(32);
    const generator = new Generator(3);
    const a = permute(rand([4, 2, 3], { generator }), [1, 2, 0]);
    const b = rand([4, 5], { generator });
    const c = matmul(a, b);
    const [A, B] = [a.dataSync(), b.dataSync()];
    expect(c.shape).toEqual([2, 3, 5]);
    c.dataSync().forEach((value, i) => {
      const [row, column] = [Math.floor(i / 5), i % 5];
      const terms = [0, 1, 2, 3].map((k) => A[row * 4 + k] * B[k * 5 + column]);
      expect(value).toBeCloseTo(terms[0] + terms[1] + terms[2] + terms[3], 5);
    });
  });

  it("names both shapes and what clashes", () => {
    expect(() => matmul(zeros([3, 4]), zeros([5, 2]))).toThrow(
      "matmul: a [3, 4] has 4 columns, b [5, 2] has 5 rows; they must be equal, transpose() one of them or check its shape",
    );
    expect(() => matmul(zeros([4]), zeros([5]))).toThrow(
      /^matmul: a \[4\] has 4 columns, b \[5\] has 5 rows/,
    );
    expect(() => matmul(zeros([2, 3, 4]), zeros([3, 4, 2]))).toThrow(
      /^matmul: shapes \[2\] and \[3\] do not broadcast/,
    );
    const x = zeros([2]);
    expect(() => matmul(scalarLike(1, x), x)).toThrow(/^matmul: a \[\] and b \[2\] must have at least one/);
    expect(() => matmul(zeros([1, 1]), zeros([1, 1], { dtype: "f64" }))).toThrow(
      "matmul: inputs are f32 and f64; bring them to one dtype with to(dtype)",
    );
    expect(() => matmul(indices([[1]]), indices([[1]]))).toThrow(/^matmul: takes f32 and f64, not i32/);
  });
});

describe("concat and stack", () => {
  it("join strided inputs, and cut the gradient", () => {
    const a = tensor([[1], [2]], { requiresGrad: true });
    const b = permute(
      tensor([
        [3, 4],
        [5, 6],
      ]),
      [1, 0],
    );
    const joined = concat([a, b], -1);
    expect(joined.toArraySync()).toEqual([
      [1, 3, 5],
      [2, 4, 6],
    ]);
    backward(
      joined,
      tensor([
        [10, 11, 12],
        [20, 21, 22],
      ]),
    );
    expect(a.grad?.toArraySync()).toEqual([[10], [20]]);
    expect(concat([b]).storage).not.toBe(b.storage);
  });

  it("stack puts a new axis anywhere, and a tensor may come twice", () => {
    const a = tensor([1, 2], { requiresGrad: true });
    const pairs = stack([a, a, tensor([3, 4])], -1);
    expect(pairs.toArraySync()).toEqual([
      [1, 1, 3],
      [2, 2, 4],
    ]);
    backward(sum(pairs));
    expect(a.grad?.toArraySync()).toEqual([2, 2]);
  });

  it("say which input clashes", () => {
    expect(() => concat([zeros([2, 3]), zeros([2, 1]), zeros([3, 3])], 1)).toThrow(
      "concat: input 2 [3, 3] does not match input 0 [2, 3] outside axis 1; " +
        "reshape, slice or pad it, or join along another axis",
    );
    expect(() => concat([zeros([2, 3]), zeros([2])], 1)).toThrow(/^concat: input 1 \[2\] does not match/);
    expect(() => concat([zeros([2]), zeros([2], { dtype: "f64" })])).toThrow(
      "concat: input 1 is f64, input 0 is f32; bring them to one dtype with to(dtype)",
    );
    expect(() => concat([])).toThrow("concat: the list is empty; give at least one tensor");
    expect(() => stack([])).toThrow(/^stack: the list is empty/);
    expect(() => stack([zeros([2]), zeros([3])])).toThrow(
      /^stack: input 1 \[3\] does not match input 0 \[2\]/,
    );
  });
});

describe("gather and scatterAdd", () => {
  it("are each other's transpose", () => {
    const index = indices([
      [2, 0, 2],
      [1, 1, 0],
    ]);
    const values = tensor([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    expect(scatterAdd(values, index, [2, 4], 1).toArraySync()).toEqual([
      [2, 0, 4, 0],
      [6, 9, 0, 0],
    ]);
    expect(gather(tensor([[7, 8, 9]]), indices([[2, 0]]), 1).toArraySync()).toEqual([[9, 7]]);
  });

  it("name the value, its position and the range", () => {
    const x = zeros([3, 5]);
    const wrong = indices([
      [0, 1],
      [4, 5],
    ]);
    expect(() => gather(x, wrong, 1)).toThrow(
      "gather: index 5 at position [1, 1] is out of range for axis 1 of [3, 5]; use 0 to 4",
    );
    expect(() => gather(x, indices([[0], [-1]]), 1)).toThrow(/^gather: index -1 at position \[1, 0\]/);
    expect(() => scatterAdd(zeros([2, 2]), wrong, [2, 5], 1)).toThrow(
      /^scatterAdd: index 5 at position \[1, 1\]/,
    );
    expect(() => gather(x, indices([0]), 1)).toThrow(/^gather: index \[1\] does not fit \[3, 5\]/);
    expect(() => gather(x, zeros([1, 1]), 1)).toThrow(
      'gather: index must be i32, not f32; convert with to("i32")',
    );
    expect(() => scatterAdd(zeros([1, 2]), indices([[0]]), [1, 2], 1)).toThrow(
      /^scatterAdd: values \[1, 2\] and index \[1, 1\] differ in shape/,
    );
  });
});

describe("crossEntropy", () => {
  it("names the label that is no class", () => {
    const labels = indices([0, 9, 3, 10]);
    expect(() => crossEntropy(zeros([4, 10]), labels)).toThrow(
      "crossEntropy: label 10 at position 3 is out of range for 10 classes; use 0 to 9",
    );
    expect(() => crossEntropy(zeros([1, 10]), indices([-1]))).toThrow(
      /^crossEntropy: label -1 at position 0/,
    );
  });

  it("explains shapes, dtypes and smoothing", () => {
    expect(() => crossEntropy(zeros([4, 10]), indices([0, 1]))).toThrow(
      /^crossEntropy: logits \[4, 10\] are not \[N, C\] for labels \[N\], here \[2\]/,
    );
    expect(() => crossEntropy(zeros([2, 3]), zeros([2]))).toThrow(
      'crossEntropy: labels must be i32, not f32; convert with to("i32")',
    );
    expect(() => crossEntropy(zeros([1, 3]), indices([0]), { labelSmoothing: 1.5 })).toThrow(
      "crossEntropy: labelSmoothing 1.5 must lie between 0 and 1",
    );
  });

  it("stays finite for logits that overflow exp", () => {
    expect(crossEntropy(tensor([[1000, 0]]), indices([1])).itemSync()).toBe(1000);
  });
});

describe("dropout", () => {
  it("drops the given share, scales the rest, and repeats with its generator", () => {
    const x = ones([100, 100], { requiresGrad: true });
    const y = dropout(x, 0.25, { generator: new Generator(5) });
    const values = [...y.dataSync()];
    expect(new Set(values)).toEqual(new Set([0, Math.fround(1 / 0.75)]));
    // 10,000 draws: the share's standard deviation is 0.0043.
    expect(values.filter((value) => value === 0).length / values.length).toBeCloseTo(0.25, 1);
    expect(dropout(x, 0.25, { generator: new Generator(5) }).dataSync()).toEqual(y.dataSync());
    expect(dropout(x, 0.25, { generator: new Generator(6) }).dataSync()).not.toEqual(y.dataSync());
    backward(sum(y));
    expect(x.grad?.dataSync()).toEqual(y.dataSync());
  });

  it("does nothing outside training, and everything for probability 1", () => {
    const x = ones([3], { dtype: "f64" });
    expect(dropout(x, 0.5, { training: false })).toBe(x);
    expect(dropout(x, 0)).toBe(x);
    expect(dropout(x, 1).toArraySync()).toEqual([0, 0, 0]);
    expect(() => dropout(x, 1.5)).toThrow("dropout: probability 1.5 must lie between 0 and 1");
  });
});
