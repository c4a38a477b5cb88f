/**
 * The WebAssembly copies against the elements they should hold, between any two layouts; memory around the operands is
 * NaN, and what is not written stays NaN.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { HostView } from "../src/backends/backend.ts";
import { loops } from "../src/backends/cpu/loops/index.ts";
import { copyKernels } from "../src/backends/cpu/wasm/kernels/copy.ts";
import { planeKernels } from "../src/backends/cpu/wasm/kernels/planes.ts";
import {
  dense,
  expectExactly,
  indices,
  inputView,
  layoutPlan,
  makeInputs,
  outputView,
  plain,
  setting,
  size,
} from "./hostViews.ts";
import { counting, expectCalls, workplace } from "./support/sharedViews.ts";

const extent = fc.constantFrom(0, 1, 2, 3, 4, 5, 7, 9, 17);
const shapes = fc.array(extent, { maxLength: 5 }).filter((shape) => size(shape) <= 3000);
const runs = { numRuns: 500 };

/** Position of `index` in `shape`, row-major. */
const flat = (index: readonly number[], shape: readonly number[]): number =>
  index.reduce((position, i, axis) => position * shape[axis] + i, 0);

describe("WebAssembly copies", () => {
  const { runtime, share, clear } = workplace(false);
  const fallback = counting({ copy: loops.copy, concat: loops.concat, pad: loops.pad });
  const kernels = copyKernels(runtime, planeKernels(runtime), fallback.kernels);

  function expectCopy(x: HostView, output: HostView): void {
    kernels.copy([x], output, {});
    expectExactly(output, dense(x));
  }

  it("keep every element, whatever the two layouts", () => {
    fc.assert(
      fc.property(shapes, setting, (shape, s) => {
        clear();
        expectCopy(share(makeInputs([shape], s)[0]), share(outputView(shape, s.dtype, s.plans[1])));
        fallback.calls = 0;
      }),
      runs,
    );
  });

  it("of slices and insides of images run in the kernel", () => {
    const slice = { ...plain, before: [0, 3, 0, 0, 0], after: [0, 2, 0, 0, 0] };
    const inside = { ...plain, before: [1, 0, 1, 1, 0], after: [0, 1, 1, 1, 0] };
    const plans = [plain, slice, inside];
    for (const shape of [
      [3, 5, 7, 7],
      [2, 3, 14, 13],
      [2, 2, 3, 2],
    ])
      for (const from of plans)
        for (const to of plans) {
          clear();
          expectCopy(share(inputView(shape, "f32", from, 1)), share(outputView(shape, "f32", to)));
          expectCalls(fallback, false, "loops for the copy");
        }
  });

  it("keep all 32 bits of integers, also those that are NaN as f32", () => {
    fc.assert(
      fc.property(shapes, setting, (shape, { plans, seed }) => {
        clear();
        // The bits of the shared f32 views, seen as integers.
        const asIntegers = (view: HostView): HostView => ({
          ...view,
          dtype: "i32",
          data: new Int32Array(view.data.buffer, view.data.byteOffset, view.data.length),
        });
        const x = asIntegers(share(inputView(shape, "f32", plans[0], seed)));
        for (let i = 0; i < x.data.length; i += 3) x.data[i] = i % 2 ? 0x7f800001 + i : -1 - i;
        const output = asIntegers(share(outputView(shape, "f32", plans[1])));
        const before = output.data.slice();
        kernels.copy([x], output, {});
        const wanted = { ...output, data: before };
        loops.copy([x], wanted, {});
        expect(output.data).toEqual(wanted.data);
        fallback.calls = 0;
      }),
      runs,
    );
  });

  it("join tensors along an axis", () => {
    const cases = fc
      .array(fc.nat(5), { minLength: 1, maxLength: 4 })
      .chain((shape) => fc.record({ shape: fc.constant(shape), axis: fc.nat(shape.length - 1) }));
    const parts = fc.array(fc.tuple(fc.nat(4), layoutPlan), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(cases, parts, setting, ({ shape, axis }, pieces, { dtype, plans }) => {
        clear();
        const inputs = pieces.map(([extent, plan], i) =>
          share(inputView(shape.with(axis, extent), dtype, plan, i)),
        );
        const total = pieces.reduce((sum, [extent]) => sum + extent, 0);
        const output = share(outputView(shape.with(axis, total), dtype, plans[3]));
        const expected = new Float64Array(size(output.shape));
        let start = 0;
        for (const input of inputs) {
          const values = dense(input);
          for (const index of indices(input.shape))
            expected[flat(index.with(axis, index[axis] + start), output.shape)] =
              values[flat(index, input.shape)];
          start += input.shape[axis];
        }
        kernels.concat(inputs, output, { axis });
        expectExactly(output, expected);
      }),
      runs,
    );
  });

  it("put a margin of any value around a tensor", () => {
    const margins = fc.array(fc.tuple(fc.nat(3), fc.nat(3)), { minLength: 4, maxLength: 4 });
    const small = fc.array(fc.nat(7), { minLength: 1, maxLength: 4 });
    const value = fc.constantFrom(0, 0, 1.5, Number.NEGATIVE_INFINITY);
    fc.assert(
      fc.property(small, margins, value, setting, (shape, all, value, s) => {
        clear();
        const padding = shape.map((_, axis) => all[axis]);
        const [x] = makeInputs([shape], s).map(share);
        const values = dense(x);
        const wide = shape.map((extent, axis) => extent + padding[axis][0] + padding[axis][1]);
        const output = share(outputView(wide, s.dtype, s.plans[1]));
        const expected = new Float64Array(size(wide)).fill(value);
        for (const index of indices(shape))
          expected[
            flat(
              index.map((i, axis) => i + padding[axis][0]),
              wide,
            )
          ] = values[flat(index, shape)];
        kernels.pad([x], output, { padding, value });
        expectExactly(output, expected);
      }),
      runs,
    );
  });
});
