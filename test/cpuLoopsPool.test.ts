/** Pooling kernels against the plain definitions, over random shapes and layouts. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { HostView } from "../src/backends/backend.ts";
import { loops } from "../src/backends/cpu/loops/index.ts";
import { convCase, convShapes } from "./convCases.ts";
import {
  dense,
  expectExactly,
  expectSums,
  indices,
  makeInputs,
  outputView,
  plain,
  runs,
  setting,
  size,
  sums,
} from "./hostViews.ts";

describe("pooling", () => {
  interface PoolCase {
    readonly x: readonly number[];
    readonly y: readonly number[];
    readonly attributes: Parameters<typeof loops.avgPool2d>[2];
  }
  const poolCase: fc.Arbitrary<PoolCase> = fc
    .tuple(convCase, fc.nat(3), fc.boolean())
    .map(([convolution, C, countIncludePad]) => {
      const { kernel, attributes } = convolution;
      const { x, y } = convShapes({ ...convolution, attributes: { ...attributes, groups: 1 } });
      const { stride, padding, dilation } = attributes;
      return {
        x: [x[0], C, x[2], x[3]],
        y: [y[0], C, y[2], y[3]],
        attributes: { kernelSize: kernel, stride, padding, dilation, countIncludePad },
      };
    });

  /** For each output in row-major order, the flat input positions of the taps that lie inside. */
  function windows({ x, y, attributes }: PoolCase): number[][] {
    const { kernelSize, stride, padding, dilation } = attributes;
    return Array.from(indices(y), ([n, c, p, q]) => {
      const taps: number[] = [];
      for (const [r, s] of indices(kernelSize)) {
        const h = p * stride[0] - padding[0] + r * dilation[0];
        const w = q * stride[1] - padding[2] + s * dilation[1];
        if (h >= 0 && h < x[2] && w >= 0 && w < x[3]) taps.push(((n * x[1] + c) * x[2] + h) * x[3] + w);
      }
      return taps;
    });
  }

  /** First of the largest; the last NaN, if there is one. */
  function winner(taps: readonly number[], values: Float64Array): number | undefined {
    const notNumbers = taps.filter((tap) => Number.isNaN(values[tap]));
    if (notNumbers.length > 0) return notNumbers.at(-1);
    const largest = Math.max(...taps.map((tap) => values[tap]));
    return taps.find((tap) => values[tap] === largest);
  }

  /** Few distinct values, so that windows have ties. */
  function makeTies(view: HostView): void {
    view.data.forEach((value, i) => {
      view.data[i] = Math.round(value * 2);
    });
  }

  it("maxPool2d and maxPool2dPick take the first largest of each window", () => {
    fc.assert(
      fc.property(poolCase, setting, (pool, s) => {
        const inputs = makeInputs([pool.x, pool.x], s);
        makeTies(inputs[0]);
        const [xs, vs] = inputs.map(dense);
        const winners = windows(pool).map((taps) => winner(taps, xs));
        const output = outputView(pool.y, s.dtype, s.plans[2]);
        loops.maxPool2d([inputs[0]], output, pool.attributes);
        expectExactly(
          output,
          winners.map((at) => (at === undefined ? Number.NEGATIVE_INFINITY : xs[at])),
        );
        const picked = outputView(pool.y, s.dtype, s.plans[3]);
        loops.maxPool2dPick(inputs, picked, pool.attributes);
        expectExactly(
          picked,
          winners.map((at) => (at === undefined ? 0 : vs[at])),
        );
      }),
      runs,
    );
  });

  it("maxPool2dInputGradient adds each gradient at its window's winner only", () => {
    fc.assert(
      fc.property(poolCase, setting, (pool, s) => {
        const inputs = makeInputs([pool.x, pool.y], s);
        makeTies(inputs[0]);
        const [xs, gs] = inputs.map(dense);
        const expected = sums(size(pool.x));
        windows(pool).forEach((taps, o) => {
          const at = winner(taps, xs);
          if (at !== undefined) expected[at].add(gs[o]);
        });
        const output = outputView(pool.x, s.dtype, s.plans[2]);
        loops.maxPool2dInputGradient(inputs, output, pool.attributes);
        expectSums(output, expected);
      }),
      runs,
    );
  });

  it("finds the winner of a 2 x 2 window wherever the ties, infinities and NaNs lie", () => {
    const levels = [Number.NEGATIVE_INFINITY, 0, 1, Number.POSITIVE_INFINITY, Number.NaN];
    const attributes = {
      kernelSize: [2, 2],
      stride: [2, 2],
      padding: [0, 0, 0, 0],
      dilation: [1, 1],
    } as const;
    for (const choice of indices([5, 5, 5, 5])) {
      const data = Float64Array.from(choice, (level) => levels[level]);
      const x: HostView = { dtype: "f64", data, shape: [1, 1, 2, 2], strides: [4, 4, 2, 1], offset: 0 };
      const position: HostView = { ...x, data: Float64Array.of(0, 1, 2, 3) };
      const output = outputView([1, 1, 1, 1], "f64", plain);
      loops.maxPool2dPick([x, position], output, attributes);
      expect(output.data[0]).toBe(winner([0, 1, 2, 3], data));
    }
  });

  it("minus infinities have a winner: the first", () => {
    const data = new Float32Array(9).fill(Number.NEGATIVE_INFINITY);
    const x: HostView = { dtype: "f32", data, shape: [1, 1, 3, 3], strides: [9, 9, 3, 1], offset: 0 };
    const grad = outputView([1, 1, 1, 1], "f32", plain);
    grad.data[0] = 5;
    const output = outputView(x.shape, "f32", plain);
    const attributes = {
      kernelSize: [3, 3],
      stride: [1, 1],
      padding: [0, 0, 0, 0],
      dilation: [1, 1],
    } as const;
    loops.maxPool2dInputGradient([x, grad], output, attributes);
    expect(Array.from(output.data)).toEqual([5, 0, 0, 0, 0, 0, 0, 0, 0]);
  });

  it("avgPool2d and its gradient divide by the taps that count", () => {
    fc.assert(
      fc.property(poolCase, setting, (pool, s) => {
        const inputs = makeInputs([pool.x, pool.y], s);
        const [xs, gs] = inputs.map(dense);
        const expected = sums(size(pool.y));
        const gradients = sums(size(pool.x));
        const { kernelSize, countIncludePad } = pool.attributes;
        windows(pool).forEach((taps, o) => {
          const divisor = countIncludePad ? size(kernelSize) : taps.length;
          for (const tap of taps) {
            expected[o].add(xs[tap] / divisor);
            gradients[tap].add(gs[o] / divisor);
          }
        });
        const output = outputView(pool.y, s.dtype, s.plans[2]);
        loops.avgPool2d([inputs[0]], output, pool.attributes);
        expectSums(output, expected);
        const gradient = outputView(pool.x, s.dtype, s.plans[3]);
        loops.avgPool2dInputGradient([inputs[1]], gradient, pool.attributes);
        expectSums(gradient, gradients);
      }),
      runs,
    );
  });
});
