/** WebGPU kernels where samples of a few elements do not reach: functions far out, dropout's bits, many rows. */
import { describe, expect, it } from "vitest";
import {
  add as addTensors,
  assignAll,
  backward,
  dropout,
  exp,
  gather,
  greater,
  log,
  mish,
  mul as multiply,
  neg,
  pow,
  scatterAdd,
  sigmoid,
  silu,
  slice,
  softplus,
  sqrt,
  sub,
  sum,
  tanh,
  upsample,
} from "../src/autograd/index.ts";
import { add, input, mul, parameter } from "../src/backends/expression.ts";
import { Generator, type Tensor, tensor } from "../src/index.ts";
import { Adam } from "../src/nn/optim/index.ts";
import { Parameter } from "../src/nn/parameter.ts";
import { furthest, noise } from "./support/noise.ts";
import { tensorsOnDevice, webGpuUnderTest } from "./support/webgpu.ts";

const options = webGpuUnderTest();

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;

const pow3 = (x: Tensor): Tensor => pow(x, 3);

describe.skipIf(!options)("WebGPU kernels", async () => {
  const onDevice = await tensorsOnDevice(options);

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
