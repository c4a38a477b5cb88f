/** Maxima, means and their like: ties, NaN, nothing to reduce, and which element the gradient goes to. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { backward } from "../../src/autograd/engine.ts";
import { channelMaxout } from "../../src/autograd/ops/channelMaxout.ts";
import { logSumExp } from "../../src/autograd/ops/logSumExp.ts";
import { argmax, max, min } from "../../src/autograd/ops/max.ts";
import { mean, variance } from "../../src/autograd/ops/mean.ts";
import { transpose } from "../../src/autograd/ops/permute.ts";
import { softmax } from "../../src/autograd/ops/softmax.ts";
import { sum } from "../../src/autograd/ops/sum.ts";
import { arange, rand, tensor, zeros } from "../../src/tensor/create.ts";
import { Generator } from "../../src/tensor/generator.ts";

const { NaN: nan, POSITIVE_INFINITY: infinity } = Number;

describe("max", () => {
  it("is the maximum along each axis, also of strided memory", () => {
    const x = transpose(
      tensor([
        [1, 9, 3],
        [7, 2, 8],
      ]),
    );
    expect(max(x, 0).toArraySync()).toEqual([9, 8]);
    expect(max(x, 1, { keepDims: true }).toArraySync()).toEqual([[7], [9], [8]]);
    expect(max(x).itemSync()).toBe(9);
    expect(min(x, 0).toArraySync()).toEqual([1, 2]);
    expect(argmax(x, 0).toArraySync()).toEqual([1, 2]);
    expect(argmax(x).itemSync()).toBe(2);
    expect(argmax(x, undefined, { keepDims: true }).shape).toEqual([1, 1]);
  });

  it("lets NaN win, the first one for argmax", () => {
    const x = tensor([
      [1, nan, 5, nan],
      [4, 3, 2, 1],
    ]);
    expect(max(x, 1).toArraySync()).toEqual([nan, 4]);
    expect(min(x, 1).toArraySync()).toEqual([nan, 1]);
    expect(argmax(x, 1).toArraySync()).toEqual([1, 0]);
  });

  it("takes the first of equals, minus infinity included, and gives it the whole gradient", () => {
    const x = tensor(
      [
        [2, 7, 7],
        [-infinity, -infinity, -infinity],
      ],
      { requiresGrad: true },
    );
    expect(argmax(x, 1).toArraySync()).toEqual([1, 0]);
    backward(sum(max(x, 1)));
    expect(x.grad?.toArraySync()).toEqual([
      [0, 1, 0],
      [1, 0, 0],
    ]);
  });

  it("finds the first winner in row-major order over several axes", () => {
    const x = tensor([3, 8, 8, 1, 8, 0, 8, 2], { shape: [2, 2, 2], requiresGrad: true });
    backward(sum(max(x, [0, 2])));
    expect(x.grad?.dataSync()).toEqual(Float32Array.of(0, 1, 1, 0, 0, 0, 0, 0));
  });

  it("keeps integers and works where other axes are empty", () => {
    expect(max(tensor([3, 8, 1], { dtype: "i32" })).dtype).toBe("i32");
    expect(max(zeros([0, 3]), 1).shape).toEqual([0]);
  });

  it("names the empty axis", () => {
    expect(() => max(zeros([2, 0]), 1)).toThrow(/^max: \[2, 0\] has no elements along axes \[1\]/);
    expect(() => argmax(zeros([0]), 0)).toThrow(/^argmax: \[0\]/);
    expect(() => max(zeros([2]), 2)).toThrow(/^max: axis 2 is out of range/);
  });
});

describe("mean and variance", () => {
  it("are NaN where there is nothing to divide by", () => {
    expect(mean(zeros([0])).itemSync()).toBeNaN();
    expect(variance(tensor([5])).itemSync()).toBeNaN();
    expect(variance(tensor([5]), 0, { correction: 0 }).itemSync()).toBe(0);
  });

  it("refuse integers", () => {
    const x = tensor([1, 2], { dtype: "i32" });
    expect(() => mean(x)).toThrow('mean: takes f32 and f64, not i32; convert with to("f32")');
    expect(() => variance(x)).toThrow(/^variance: takes f32 and f64, not i32/);
    expect(() => softmax(x, 0)).toThrow(/^softmax: takes f32 and f64, not i32/);
  });

  it("do not lose a small variance beside a large mean", () => {
    const x = tensor([1e6, 1e6 + 1, 1e6 + 2], { dtype: "f64" });
    expect(variance(x).itemSync()).toBeCloseTo(1, 12);
  });
});

describe("logSumExp", () => {
  it("of infinities is infinite, and of nothing is the logarithm of zero", () => {
    const x = tensor([
      [-infinity, -infinity],
      [infinity, 0],
    ]);
    expect(logSumExp(x, 1).toArraySync()).toEqual([-infinity, infinity]);
    expect(logSumExp(zeros([0])).itemSync()).toBe(-infinity);
  });
});

describe("channelMaxout", () => {
  it("is the maximum of the channels that agree modulo the number of outputs", () => {
    const extents = fc.tuple(
      fc.integer({ min: 0, max: 2 }),
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 1, max: 3 }),
      fc.nat(),
    );
    fc.assert(
      fc.property(extents, ([N, groups, outputs, H, W, seed]) => {
        const x = rand([N, groups * outputs, H, W], { generator: new Generator(seed) });
        const values = x.dataSync();
        const expected: number[] = [];
        for (let n = 0; n < N; n++)
          for (let g = 0; g < outputs; g++)
            for (let pixel = 0; pixel < H * W; pixel++) {
              let largest = -infinity;
              for (let k = g; k < groups * outputs; k += outputs)
                largest = Math.max(largest, values[(n * groups * outputs + k) * H * W + pixel]);
              expected.push(largest);
            }
        const result = channelMaxout(x, outputs);
        expect(result.shape).toEqual([N, outputs, H, W]);
        expect([...result.dataSync()]).toEqual(expected);
      }),
      { numRuns: 50 },
    );
  });

  it("names the channels that do not divide", () => {
    expect(() => channelMaxout(zeros([1, 6, 2, 2]), 4)).toThrow(
      "channelMaxout: outChannels 4 does not divide the 6 channels of [1, 6, 2, 2]; use a divisor",
    );
    expect(() => channelMaxout(arange(6), 2)).toThrow(
      /^channelMaxout: input \[6\] has 1 dimensions, not the 4/,
    );
  });
});
