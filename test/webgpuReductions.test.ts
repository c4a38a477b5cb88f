/** WebGPU's reductions where samples of a few elements do not reach: several levels of merging, NaN and infinities. */
import { describe, expect, it } from "vitest";
import {
  argmax,
  backward,
  batchNorm,
  logSoftmax,
  logSumExp,
  max,
  maxPool2d,
  relu,
  slice,
  softmax,
  sum,
  transpose,
} from "../src/autograd/index.ts";
import { batchStatistics } from "../src/autograd/ops/batchStatistics.ts";
import { type Tensor, tensor } from "../src/index.ts";
import { furthest, noise, total } from "./support/noise.ts";
import { tensorsOnDevice, webGpuUnderTest } from "./support/webgpu.ts";

const options = webGpuUnderTest();

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;

describe.skipIf(!options)("WebGPU reductions", async () => {
  const onDevice = await tensorsOnDevice(options);

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
});
