/** WebGPU kernels where samples of a few elements do not reach: long reductions, NaN and infinities, many rows. */
import { describe, expect, it } from "vitest";
import {
  add as addTensors,
  argmax,
  assignAll,
  backward,
  batchNorm,
  dropout,
  exp,
  gather,
  greater,
  log,
  logSoftmax,
  logSumExp,
  max,
  maxPool2d,
  mish,
  mul as multiply,
  neg,
  pow,
  relu,
  scatterAdd,
  sigmoid,
  silu,
  slice,
  softmax,
  softplus,
  sqrt,
  sub,
  sum,
  tanh,
  transpose,
  upsample,
} from "../src/autograd/index.ts";
import { batchStatistics } from "../src/autograd/ops/batchStatistics.ts";
import type { Backend } from "../src/backends/backend.ts";
import { add, input, mul, parameter } from "../src/backends/expression.ts";
import { createWebGpuBackend } from "../src/backends/webgpu/index.ts";
import { Generator, type Tensor, tensor } from "../src/index.ts";
import { Adam } from "../src/nn/optim/index.ts";
import { Parameter } from "../src/nn/parameter.ts";
import { softwareWebGpu } from "./support/webgpu.ts";

const options = softwareWebGpu();

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;

const pow3 = (x: Tensor): Tensor => pow(x, 3);

/** Pseudo-random numbers around `mean`, rounded to f32. */
function noise(length: number, mean = 0, seed = 1): Float32Array {
  const values = new Float32Array(length);
  new Generator(seed).normal(values, mean, 1);
  return values;
}

const total = (values: ArrayLike<number>): number => Array.from(values).reduce((a, b) => a + b, 0);

/** The largest difference; NaN where there is one. */
const furthest = (found: ArrayLike<number>, expected: ArrayLike<number>): number =>
  Array.from(expected).reduce((most, value, i) => Math.max(most, Math.abs(found[i] - value)), 0);

describe.skipIf(!options)("WebGPU kernels", async () => {
  const backend: Backend | null = options ? await createWebGpuBackend(options) : null;
  const onDevice = (
    values: Float32Array | readonly number[],
    shape: readonly number[],
    dtype: "f32" | "i32" | "u8" | "bool" = "f32",
  ) => {
    if (!backend) throw new Error("no device");
    return tensor(values, { shape, dtype, backend });
  };

  describe("long reductions", () => {
    /** [rows, columns] as it lies in memory, and whether columns are summed through a transposed view. */
    const settings = [
      { rows: 1, columns: 300_000, isTransposed: false },
      { rows: 3, columns: 70_001, isTransposed: false },
      { rows: 3, columns: 2_003, isTransposed: true },
      { rows: 70_000, columns: 4, isTransposed: true },
      { rows: 2_000, columns: 257, isTransposed: false },
    ];
    it.each(settings)(
      "agree with plain loops over $rows x $columns, transposed: $isTransposed",
      async (setting) => {
        const { rows, columns, isTransposed } = setting;
        const values = noise(rows * columns, 0.5);
        const whole = onDevice(values, [rows, columns]);
        const x = isTransposed ? transpose(whole, 0, 1) : whole;
        const [outputs, length] = isTransposed ? [columns, rows] : [rows, columns];
        const lines = Array.from({ length: outputs }, (_, k) =>
          Array.from({ length }, (__, j) => values[isTransposed ? j * columns + k : k * columns + j]),
        );
        const [sums, again, largest, places, exponentials] = await Promise.all(
          [sum(x, 1), sum(x, 1), max(x, 1), argmax(x, 1), logSumExp(x, 1)].map((result) => result.data()),
        );
        expect(again).toEqual(sums);
        const wrong = lines.flatMap((line, k) => {
          const top = line.reduce((a, b) => Math.max(a, b));
          const exponential = Math.log(total(line.map((value) => Math.exp(value))));
          const isRight =
            Math.abs(sums[k] - total(line)) < 1e-6 * total(line.map(Math.abs)) &&
            largest[k] === top &&
            places[k] === line.indexOf(top) &&
            Math.abs(exponentials[k] - exponential) < 5e-5;
          return isRight
            ? []
            : [{ k, sum: sums[k], max: largest[k], argmax: places[k], exponentials: exponentials[k] }];
        });
        expect(wrong).toEqual([]);
      },
    );

    it("send the gradient of a maximum to the first of equals", async () => {
      const values = new Float32Array(100_000).fill(-1);
      for (const place of [77_777, 1_234, 99_999]) values[place] = 5;
      const x = onDevice(values, [100_000]);
      x.requiresGrad = true;
      backward(max(x));
      const gradient = await x.grad?.data();
      expect(gradient?.indexOf(1)).toBe(1_234);
      expect(total(gradient ?? [])).toBe(1);
    });

    it("count integers exactly, bytes and booleans too", async () => {
      const ones = new Array<number>(100_001).fill(1);
      const [a, b, c] = [
        onDevice(
          ones.map((_, i) => 20_000 - (i % 7)),
          [100_001],
          "i32",
        ),
        onDevice(
          ones.map(() => 255),
          [100_001],
          "u8",
        ),
        onDevice(ones, [100_001], "bool"),
      ].map((x) => sum(x));
      expect(await a.item()).toBe(total(ones.map((_, i) => 20_000 - (i % 7))));
      expect(await b.item()).toBe(25_500_255);
      expect([await c.item(), c.dtype]).toEqual([100_001, "i32"]);
    });

    it.each([[2, 3, 97, 64] as const, [5, 2, 61, 61] as const])(
      "keep the digits of a variance far from 0: %i, %i, %i, %i",
      async (N, C, H, W) => {
        const values = noise(N * C * H * W, 10_000);
        const statistics = await batchStatistics(onDevice(values, [N, C, H, W])).data();
        for (let c = 0; c < C; c++) {
          const own = values.filter((_, i) => Math.floor(i / (H * W)) % C === c);
          const average = total(own) / own.length;
          const variance = total(Float64Array.from(own, (value) => (value - average) ** 2)) / own.length;
          expect(Math.abs(statistics[c] - average)).toBeLessThan(2e-3);
          expect(Math.abs(statistics[C + c] / variance - 1)).toBeLessThan(1e-4);
        }
      },
    );

    it("give batchNorm the gradients of the CPU, in slices of a larger tensor too", async () => {
      const shape = [3, 6, 40, 44];
      const values = noise(3 * 6 * 40 * 44, 2);
      const upstream = noise(3 * 3 * 40 * 44, 0, 2);
      const gradientsOf = async (make: (values: Float32Array, shape: readonly number[]) => Tensor) => {
        const x = make(values, shape);
        const [weight, bias] = [
          make(Float32Array.of(1, 2, 3), [3]),
          make(Float32Array.of(0.1, -0.2, 0.3), [3]),
        ];
        for (const leaf of [x, weight, bias]) leaf.requiresGrad = true;
        backward(relu(batchNorm(slice(x, 1, 2, 5), weight, bias)), make(upstream, [3, 3, 40, 44]));
        return Promise.all([x, weight, bias].map((leaf) => leaf.grad?.data()));
      };
      const found = await gradientsOf((data, of) => onDevice(data, of));
      const expected = await gradientsOf((data, of) =>
        tensor(Float64Array.from(data), { shape: of, dtype: "f64" }),
      );
      found.forEach((gradient, i) => {
        const host = expected[i] ?? [];
        const largest = Math.max(1, ...Array.from(host, Math.abs));
        expect(host.length).toBeGreaterThan(0);
        expect(furthest(gradient ?? [], host)).toBeLessThan(2e-5 * largest);
      });
    });
  });

  describe("NaN and infinities as on the CPU", () => {
    const lines = [
      [1, nan, 3, nan],
      [-inf, -inf, -inf, -inf],
      [inf, 1, 2, inf],
      [-inf, -1000, -1000, -999],
      [nan, inf, -inf, 0],
      [1, 2, 3, inf],
    ];
    const both = async (op: (x: Tensor) => Tensor) => {
      const flat = lines.flat();
      const found = await op(onDevice(flat, [6, 4])).data();
      const expected = op(tensor(flat, { shape: [6, 4], dtype: "f64" })).dataSync();
      return [found, expected].map((list) => Array.from(list, (value) => Number(value.toPrecision(4))));
    };
    it.each<[string, (x: Tensor) => Tensor]>([
      ["sum", (x) => sum(x, 1)],
      ["max", (x) => max(x, 1)],
      ["max down", (x) => max(x, 0)],
      ["argmax", (x) => argmax(x, 1)],
      ["logSumExp", (x) => logSumExp(x, 1)],
      ["softmax", (x) => softmax(x, 1)],
      ["logSoftmax", (x) => logSoftmax(x, 1)],
      ["maxPool2d", (x) => maxPool2d(x.reshape([1, 1, 6, 4]), { kernelSize: 3, stride: 1, padding: 1 })],
      ["relu", (x) => relu(x)],
    ])("%s", async (_, op) => {
      const [found, expected] = await both(op);
      expect(found).toEqual(expected);
    });

    it("a NaN among many is the maximum, and the first of them wins", async () => {
      const values = noise(200_000);
      values[150_001] = nan;
      values[150_777] = nan;
      const x = onDevice(values, [200_000]);
      expect(await max(x).item()).toBeNaN();
      expect(await argmax(x).item()).toBe(150_001);
      expect(await logSumExp(x).item()).toBeNaN();
    });
  });

  it("computes functions to a few millionths, near their zeros and far out", async () => {
    const points = [
      -104,
      -20,
      -6.9,
      -1,
      -1e-4,
      -0,
      0,
      1e-4,
      0.5,
      0.999,
      1.0001,
      1.39,
      1.41,
      7,
      88.7,
      89,
      1e30,
      inf,
    ];
    for (const fn of [exp, log, sqrt, tanh, sigmoid, softplus, mish, silu, pow3]) {
      const found = await fn(onDevice(points, [points.length])).data();
      const host = fn(tensor(Float64Array.from(points, Math.fround), { dtype: "f64" })).dataSync();
      const wrong = points.flatMap((x, i) => {
        // What overflows f32, and what falls below its normal numbers.
        const expected = Math.fround(host[i]);
        const isRight =
          Object.is(found[i], expected) ||
          Math.abs(found[i] - expected) <= 4e-6 * Math.abs(expected) + 1.2e-38;
        return isRight ? [] : [`${fn.name}(${x}) is ${found[i]}, not ${expected}`];
      });
      expect(wrong).toEqual([]);
    }
  });

  it("turns floats into integers as typed arrays do", async () => {
    const values = [
      nan,
      inf,
      -inf,
      3e9,
      -3e9,
      2 ** 31,
      -(2 ** 31),
      1e10,
      1e38,
      300.7,
      -1.5,
      -300,
      2 ** 24 + 2,
    ];
    for (const dtype of ["i32", "u8", "bool"] as const)
      expect(await onDevice(values, [values.length]).to(dtype).data()).toEqual(
        tensor(values).to(dtype).dataSync(),
      );
  });

  it("wraps bytes before the next op sees them", async () => {
    const make = (own: boolean) =>
      [
        [200, 100, 3, 255, 7],
        [100, 200, 5, 255, 0],
      ].map((bytes) => (own ? onDevice(bytes, [5], "u8") : tensor(bytes, { dtype: "u8" })));
    const chain = ([a, b]: Tensor[]) =>
      sum(
        greater(addTensors(a, b), neg(multiply(a, b)))
          .to("i32")
          .add(sub(a, b).to("i32")),
      );
    expect(await chain(make(true)).item()).toBe(chain(make(false)).itemSync());
  });

  it("draws the dropout mask of the CPU", async () => {
    for (const [length, probability] of [
      [1, 0.5],
      [1023, 0.1],
      [4097, 0.75],
      [66, 1],
      [66, 1e-12],
    ]) {
      const ones = new Float32Array(length).fill(1);
      const generators = [new Generator(7), new Generator(7)];
      const found = dropout(onDevice(ones, [length]), probability, { generator: generators[0] });
      const expected = dropout(tensor(ones), probability, { generator: generators[1] });
      expect(await found.data()).toEqual(expected.dataSync());
    }
  });

  it("resizes by the pixels of the CPU, for scales that f32 cannot hold", async () => {
    const values = noise(2 * 31 * 40);
    for (const scaleFactor of [1.5, 2.3, 0.7, [3.1, 0.1], Math.PI / 2] as const)
      for (const mode of ["nearest", "bilinear"] as const) {
        const [found, expected] = [
          onDevice(values, [1, 2, 31, 40]),
          tensor(Float64Array.from(values), { shape: [1, 2, 31, 40], dtype: "f64" }),
        ].map((x) => upsample(x, { scaleFactor, mode }));
        const host = expected.dataSync();
        expect(furthest(await found.data(), host)).toBeLessThan(mode === "nearest" ? 1e-7 : 1e-5);
      }
  });

  it("shows an index that is none as NaN, and adds nothing there", async () => {
    const [x, index] = [onDevice([1, 2, 3], [3]), onDevice([2, 3, -1], [3], "i32")];
    expect(Array.from(await gather(x, index, 0).data())).toEqual([3, Number.NaN, Number.NaN]);
    expect(Array.from(await scatterAdd(x, index, [3], 0).data())).toEqual([0, 0, 1]);
  });

  describe("assignAll", () => {
    const [x, y] = [input(0), input(1)];

    it("sees in each assignment what those before wrote, in rows of all sizes and layouts", async () => {
      const assignments = [
        { target: 1, expression: add(y, mul(parameter(0), x)) },
        { target: 0, expression: mul(x, y) },
      ];
      const lengths = [1, 5, 8, 64, 7, 12, 3, 100, 4, 0, 16, 9, 33];
      const rows = lengths.map((length, i) => {
        const [a, b] = [noise(length, 1, i + 1), noise(length, 0, 100 + i)];
        return { a, b, tensors: [onDevice(a, [length]), onDevice(b, [length])] };
      });
      const wide = onDevice(noise(60, 0, 3), [6, 10]);
      const before = await wide.data();
      // Two slices of one tensor, one of them not dense.
      const slices = [slice(wide, 1, 1, 4), slice(wide, 1, 5, 8)];
      assignAll([...rows.map(({ tensors }) => tensors), slices], assignments, [10]);
      for (const { a, b, tensors } of rows) {
        const [first, second] = await Promise.all(tensors.map((each) => each.data()));
        b.forEach((value, i) => {
          expect(second[i]).toBeCloseTo(value + 10 * a[i], 4);
          expect(first[i]).toBeCloseTo(a[i] * (value + 10 * a[i]), 3);
        });
      }
      const after = await wide.data();
      before.forEach((value, at) => {
        const column = at % 10;
        const moved = (from: number) => before[from + 4] + 10 * before[from];
        if (column >= 1 && column < 4) expect(after[at]).toBeCloseTo(value * moved(at), 3);
        else if (column >= 5 && column < 8) expect(after[at]).toBeCloseTo(moved(at - 4), 4);
        else expect(after[at]).toBe(value);
      });
    });

    it("writes a tensor that is in a row twice once", async () => {
      const both = onDevice([1, 2, 3, 4], [4]);
      assignAll(
        [[both, both]],
        [
          { target: 0, expression: add(x, 1) },
          { target: 1, expression: mul(x, y) },
        ],
      );
      expect(Array.from(await both.data())).toEqual([4, 9, 16, 25]);
    });

    it("takes the steps of Adam that the CPU takes", async () => {
      const lengths = [3, 16, 40];
      const train = async (make: (values: Float32Array) => Tensor) => {
        const parameters = lengths.map((length, i) => new Parameter(make(noise(length, 0, i))));
        const adam = new Adam(parameters, { lr: 0.1, weightDecay: 0.01 });
        for (let step = 0; step < 3; step++) {
          adam.zeroGrad();
          for (const each of parameters) backward(sum(each.mul(each)));
          adam.step();
        }
        return Promise.all(parameters.map((each) => each.data()));
      };
      const found = await train((values) => onDevice(values, [values.length]));
      const expected = await train((values) => tensor(values));
      found.forEach((values, i) => {
        values.forEach((value, at) => {
          expect(value).toBeCloseTo(expected[i][at], 5);
        });
      });
    });
  });
});
