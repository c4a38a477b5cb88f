/** Batch norm, sum, copy and concat kernels against the plain definitions, over random shapes and layouts. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { HostView } from "../src/backends/backend.ts";
import { loops } from "../src/backends/cpu/loops/index.ts";
import {
  dense,
  expectExactly,
  expectSums,
  indices,
  inputView,
  layoutPlan,
  makeInputs,
  outputView,
  plain,
  plainSetting,
  runs,
  type Setting,
  setting,
  size,
  sums,
} from "./hostViews.ts";

/** Flat row-major position of `index` in `shape`. */
function flat(index: readonly number[], shape: readonly number[]): number {
  return index.reduce((position, i, axis) => position * shape[axis] + i, 0);
}

const shape4 = fc.tuple(fc.nat(3), fc.integer({ min: 1, max: 4 }), fc.nat(6), fc.nat(6));

describe("batch normalisation", () => {
  const epsilon = 1e-5;
  /** Statistics are given, not computed, so that each kernel is judged alone. */
  function statisticsFor(C: number, s: Setting): HostView {
    const view = inputView([2, C], s.dtype, s.plans[2], s.seed + 7);
    view.data.forEach((value, i) => {
      view.data[i] = Math.abs(value) + 0.1;
    });
    return view;
  }
  const channel = (i: number, [, C, H, W]: readonly number[]) => Math.floor(i / (H * W)) % C;

  it("batchStatistics is mean and biased variance per channel", () => {
    fc.assert(
      fc.property(shape4, setting, (shape, s) => {
        const [x] = makeInputs([shape], s);
        const output = outputView([2, shape[1]], s.dtype, s.plans[1]);
        const values = dense(x);
        const count = size(shape) / shape[1];
        const expected = sums(2 * shape[1]);
        values.forEach((value, i) => {
          expected[channel(i, shape)].add(value / count);
        });
        values.forEach((value, i) => {
          const c = channel(i, shape);
          const sum = expected[shape[1] + c];
          sum.add((value - expected[c].value) ** 2 / count);
          // Where all values are equal, what is left is the rounding of the mean.
          sum.size += 2 ** -52 * Math.abs(value);
        });
        if (count === 0) for (const sum of expected) sum.add(Number.NaN);
        loops.batchStatistics([x], output, {});
        expectSums(output, expected);
      }),
      runs,
    );
  });

  it("batchStatistics keeps the digits of a small variance around a large mean", () => {
    const x = inputView([16, 2, 15, 15], "f32", plain, 3);
    x.data.forEach((value, i) => {
      x.data[i] = value * Math.sqrt(3) + 1e4;
    });
    const output = outputView([2, 2], "f32", plain);
    loops.batchStatistics([x], output, {});
    for (const c of [0, 1]) {
      const channelValues = dense(x).filter((_, i) => channel(i, x.shape) === c);
      const mean = channelValues.reduce((a, b) => a + b, 0) / channelValues.length;
      const variance = channelValues.reduce((a, b) => a + (b - mean) ** 2, 0) / channelValues.length;
      expect(Math.abs(output.data[c] / mean - 1)).toBeLessThan(1e-7);
      expect(Math.abs(output.data[2 + c] / variance - 1)).toBeLessThan(1e-6);
    }
  });

  it("batchNorm normalises, scales and shifts", () => {
    fc.assert(
      fc.property(shape4, setting, (shape, s) => {
        const C = shape[1];
        const inputs = [...makeInputs([shape, [C], [C]], s), statisticsFor(C, s)];
        const output = outputView(shape, s.dtype, s.plans[3]);
        const [xs, weights, biases, statistics] = inputs.map(dense);
        const expected = sums(size(shape));
        expected.forEach((sum, i) => {
          const c = channel(i, shape);
          const scale = weights[c] / Math.sqrt(statistics[C + c] + epsilon);
          sum.add((xs[i] - statistics[c]) * scale);
          sum.add(biases[c]);
        });
        loops.batchNorm(inputs, output, { epsilon });
        expectSums(output, expected);
      }),
      runs,
    );
  });

  it("batchNormSums are the gradients of bias and weight", () => {
    fc.assert(
      fc.property(shape4, setting, (shape, s) => {
        const C = shape[1];
        const inputs = [...makeInputs([shape, shape], s), statisticsFor(C, s)];
        const output = outputView([2, C], s.dtype, s.plans[3]);
        const [xs, grads, statistics] = inputs.map(dense);
        const expected = sums(2 * C);
        grads.forEach((grad, i) => {
          const c = channel(i, shape);
          expected[c].add(grad);
          expected[C + c].add((grad * (xs[i] - statistics[c])) / Math.sqrt(statistics[C + c] + epsilon));
        });
        loops.batchNormSums(inputs, output, { epsilon });
        expectSums(output, expected);
      }),
      runs,
    );
  });

  it("batchNormInputGradient subtracts the mean gradient and its projection on xhat", () => {
    fc.assert(
      fc.property(shape4, setting, (shape, s) => {
        const C = shape[1];
        const M = size(shape) / C;
        const [x, grad, weight, sumsView] = makeInputs([shape, shape, [C], [2, C]], s);
        const inputs = [x, weight, grad, statisticsFor(C, s), sumsView];
        const output = outputView(shape, s.dtype, s.plans[3]);
        const [xs, weights, grads, statistics, totals] = inputs.map(dense);
        const expected = sums(size(shape));
        expected.forEach((sum, i) => {
          const c = channel(i, shape);
          const inverse = 1 / Math.sqrt(statistics[C + c] + epsilon);
          const xhat = (xs[i] - statistics[c]) * inverse;
          sum.add(weights[c] * inverse * grads[i]);
          sum.add((-weights[c] * inverse * totals[c]) / M);
          sum.add((-weights[c] * inverse * xhat * totals[C + c]) / M);
        });
        loops.batchNormInputGradient(inputs, output, { epsilon });
        expectSums(output, expected);
      }),
      runs,
    );
  });
});

const anyShape = fc.array(fc.nat(5), { maxLength: 5 });

describe("sum", () => {
  function check(shape: readonly number[], axes: readonly number[], s: Setting): void {
    const [x] = makeInputs([shape], s);
    const kept = shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent));
    const output = outputView(kept, s.dtype, s.plans[1]);
    const values = dense(x);
    const expected = sums(size(kept));
    for (const index of indices(shape)) {
      const to = index.map((i, axis) => (axes.includes(axis) ? 0 : i));
      expected[flat(to, kept)].add(values[flat(index, shape)]);
    }
    loops.sum([x], output, { axes });
    expectSums(output, expected);
  }

  it("adds up the elements along any axes", () => {
    const axes = fc.uniqueArray(fc.nat(4));
    fc.assert(
      fc.property(anyShape, axes, setting, (shape, wanted, s) =>
        check(
          shape,
          wanted.filter((axis) => axis < shape.length),
          s,
        ),
      ),
      { numRuns: 400 },
    );
  });

  it("adds a million floats without drift", () => {
    const x = inputView([1 << 20], "f32", plain, 1);
    x.data.fill(0.1);
    const output = outputView([1], "f32", plain);
    loops.sum([x], output, { axes: [0] });
    expect(output.data[0]).toBe(Math.fround(Math.fround(0.1) * 2 ** 20));
    check([3, 4, 5, 6], [0, 2, 3], plainSetting);
  });
});

describe("copy", () => {
  it("keeps every element, whatever the two layouts", () => {
    fc.assert(
      fc.property(anyShape, setting, (shape, s) => {
        const [x] = makeInputs([shape], s);
        const output = outputView(shape, s.dtype, s.plans[1]);
        loops.copy([x], output, {});
        expectExactly(output, dense(x));
      }),
      { numRuns: 400 },
    );
  });

  it("copies a long row into every other place", () => {
    const x = inputView([300], "f32", plain, 5);
    const data = new Float32Array(600).fill(7);
    loops.copy([x], { dtype: "f32", data, shape: [300], strides: [2], offset: 1 }, {});
    expect(data).toEqual(
      Float32Array.from({ length: 600 }, (_, i) => (i % 2 === 0 ? 7 : x.data[(i - 1) / 2])),
    );
  });

  it("copies long runs and large transposes", () => {
    const sliced = { ...plain, before: [0, 2, 0, 0, 0], after: [0, 1, 0, 0, 0] };
    const transposed = { ...plain, order: [1, 0, 2, 3, 4] };
    for (const [from, to] of [
      [plain, plain],
      [sliced, plain],
      [plain, sliced],
      [transposed, plain],
      [plain, transposed],
    ]) {
      const x = inputView([67, 129, 3], "f32", from, 5);
      const output = outputView([67, 129, 3], "f32", to);
      loops.copy([x], output, {});
      expectExactly(output, dense(x));
    }
  });
});

describe("concat", () => {
  it("puts the inputs one after the other along the axis", () => {
    const cases = fc
      .array(fc.nat(4), { minLength: 1, maxLength: 4 })
      .chain((shape) => fc.record({ shape: fc.constant(shape), axis: fc.nat(shape.length - 1) }));
    const parts = fc.array(fc.tuple(fc.nat(3), layoutPlan), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(cases, parts, setting, ({ shape, axis }, pieces, s) => {
        const inputs = pieces.map(([extent, plan], i) =>
          inputView(shape.with(axis, extent), s.dtype, plan, i),
        );
        const total = pieces.reduce((sum, [extent]) => sum + extent, 0);
        const output = outputView(shape.with(axis, total), s.dtype, s.plans[3]);
        const expected = new Float64Array(size(output.shape));
        let start = 0;
        for (const input of inputs) {
          const values = dense(input);
          for (const index of indices(input.shape)) {
            expected[flat(index.with(axis, index[axis] + start), output.shape)] =
              values[flat(index, input.shape)];
          }
          start += input.shape[axis];
        }
        loops.concat(inputs, output, { axis });
        expectExactly(output, expected);
      }),
      runs,
    );
  });
});
