/** The cast loop against what typed arrays make of single numbers, between any two dtypes and layouts. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { loops } from "../src/backends/cpu/loops/index.ts";
import { createTypedArray, type DType } from "../src/backends/dtype.ts";
import { dense, inputView, layoutPlan, outputView, size } from "./hostViews.ts";

const dtypes = ["f32", "f64", "i32", "u8", "bool"] as const;
const dtype = fc.constantFrom<DType>(...dtypes);
const shapes = fc.array(fc.constantFrom(0, 1, 1, 2, 3, 5, 7), { maxLength: 4 });
/** Fractions, what integers cannot hold, and what only booleans keep apart. */
const numbers = [0, -0, 0.4, -0.6, 1, 3.99, -7.5, 255, 256, 300, -1, 2 ** 31, 1e12, 1e-30, Number.NaN];

describe("the cast loop", () => {
  it("stores what a typed array makes of each element, and booleans of what is not 0", () => {
    fc.assert(
      fc.property(
        shapes,
        dtype,
        dtype,
        layoutPlan,
        layoutPlan,
        fc.integer(),
        (shape, from, to, a, b, seed) => {
          const view = inputView(shape, "f64", a, seed);
          const data = createTypedArray(from, view.data.length);
          view.data.forEach((value, i) => {
            data[i] = numbers[Math.abs(Math.floor(value * 1e6)) % numbers.length];
          });
          const x = { ...view, dtype: from, data };
          const empty = outputView(shape, "f64", b);
          const output = { ...empty, dtype: to, data: createTypedArray(to, empty.data.length).fill(77) };
          loops.cast([x], output, { dtype: to });
          const expected = createTypedArray(to, size(shape));
          dense(x).forEach((value, i) => {
            expected[i] = to === "bool" ? Number(value !== 0) : value;
          });
          expect(dense(output)).toEqual(Float64Array.from(expected));
          const untouched = Array.from(output.data).filter((value) => value === 77).length;
          const holes = output.data.length - size(shape);
          expect(untouched).toBeGreaterThanOrEqual(holes);
        },
      ),
      { numRuns: 400 },
    );
  });
});
