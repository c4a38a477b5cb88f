/**
 * The WebAssembly sweep over many tensors against the same expressions one by one: the bits must be the same, for any
 * number of tensors of any size, however the sweep is cut. Memory around the operands is NaN.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { HostView } from "../src/backends/backend.ts";
import { type AssignAllAttributes, assignAll } from "../src/backends/cpu/loops/assignAll.ts";
import { runPointwise } from "../src/backends/cpu/pointwise.ts";
import { assignAllKernels } from "../src/backends/cpu/wasm/kernels/assignAll.ts";
import { pointwiseKernel } from "../src/backends/cpu/wasm/kernels/pointwise.ts";
import { add, div, input, mul, parameter, pow, sqrt, sub } from "../src/backends/expression.ts";
import { dense, inputView, type LayoutPlan, plain } from "./hostViews.ts";
import { arithmetics, counting, expectCalls, workplace } from "./support/sharedViews.ts";

const [value, gradient, first, second] = [0, 1, 2, 3].map(input);
const numbers = [0.9, 0.99, 0.01, 0.5, 1e-8];
const [beta, rho, lr, decay, eps] = numbers.map((_, i) => parameter(i));

/** Momentum with weight decay, and Adam: the second assignment reads what the first wrote. */
const steps = {
  momentum: [
    { target: 2, expression: add(mul(beta, first), add(gradient, mul(decay, value))) },
    { target: 0, expression: sub(value, mul(lr, first)) },
  ],
  adam: [
    { target: 2, expression: add(mul(beta, first), mul(sub(1, beta), gradient)) },
    { target: 3, expression: add(mul(rho, second), mul(sub(1, rho), mul(gradient, gradient))) },
    { target: 0, expression: sub(value, div(mul(lr, first), add(sqrt(second), eps))) },
  ],
  shrinking: [
    { target: 0, expression: mul(value, decay) },
    { target: 0, expression: sub(value, mul(lr, gradient)) },
  ],
} as const;

const bitsOf = (view: HostView): Int32Array =>
  new Int32Array(view.data.buffer, view.data.byteOffset, (view.data.byteLength / 4) | 0).slice();

describe.each(arithmetics)("WebAssembly sweeps (fused arithmetic: %s)", (fused) => {
  const { runtime, share, clear } = workplace(fused);
  const fallback = counting({ assignAll });
  const kernels = assignAllKernels(runtime, fallback.kernels);
  const pointwise = pointwiseKernel(runtime, runPointwise);

  /** Rows of views with random numbers, the last of them positive as a mean of squares is. */
  function makeRows(shapes: readonly (readonly number[])[], operands: number, seed: number, plan = plain) {
    return shapes.map((shape, r) =>
      Array.from({ length: operands }, (_, i) => {
        const view = inputView(shape, "f32", i === 1 ? plan : plain, seed + 7 * r + i);
        const data = i === 3 ? view.data.map(Math.abs) : view.data;
        return share({ ...view, data });
      }),
    );
  }

  const shapes = fc.array(
    fc.oneof(
      fc.array(fc.constantFrom(0, 1, 2, 3, 5, 7), { maxLength: 4 }),
      fc.constantFrom([64], [1023], [1024], [1025], [64, 3, 7, 7], [4099]),
    ),
    { minLength: 1, maxLength: 7 },
  );

  it.each(Object.entries(steps))("have the bits of %s done one by one", (_, assignments) => {
    const operands = assignments.length === 3 ? 4 : 3;
    fc.assert(
      fc.property(shapes, fc.nat(1e6), (list, seed) => {
        clear();
        const [together, apart] = [0, 1].map(() => makeRows(list, operands, seed));
        kernels.assignAll(together.flat(), together[0][0], { assignments, parameters: numbers, operands });
        for (const row of apart)
          for (const { target, expression } of assignments)
            pointwise(row, row[target], { expression, parameters: numbers });
        for (const [r, row] of together.entries())
          for (const [i, view] of row.entries()) expect(bitsOf(view)).toEqual(bitsOf(apart[r][i]));
        expectCalls(fallback, false, "loops for rows without gaps");
      }),
      { numRuns: 100 },
    );
  });

  it("write nothing between the tensors", () => {
    clear();
    const guard = () => share(inputView([5], "f32", plain, 3));
    const guards = [guard()];
    const rows = [[3], [1026], [2, 5]].map((shape, r) => {
      const [row] = makeRows([shape], 3, r);
      guards.push(guard());
      return row;
    });
    const before = guards.map(bitsOf);
    kernels.assignAll(rows.flat(), rows[0][0], {
      assignments: steps.momentum,
      parameters: numbers,
      operands: 3,
    });
    expect(guards.map(bitsOf)).toEqual(before);
  });

  it("leave tensors with gaps, f64 and powers to the loops, and nothing else", () => {
    const transposed: LayoutPlan = { ...plain, order: [1, 0, 2, 3, 4] };
    const momentum: AssignAllAttributes = { assignments: steps.momentum, parameters: numbers, operands: 3 };
    const expectSame = (rows: readonly (readonly HostView[])[], attributes = momentum) => {
      const copies = rows.map((row) => row.map((view) => ({ ...view, data: view.data.slice() })));
      kernels.assignAll(rows.flat(), rows[0][0], attributes);
      assignAll(copies.flat(), copies[0][0], attributes);
      for (const [r, row] of rows.entries())
        for (const [i, view] of row.entries()) {
          const expected = dense(copies[r][i]);
          for (const [at, number] of dense(view).entries()) expect(number).toBeCloseTo(expected[at], 5);
        }
    };
    clear();
    const [gapless] = makeRows([[3, 4]], 3, 1);
    const [gaps] = makeRows([[3, 4]], 3, 2, transposed);
    expectSame([gapless, gaps]);
    expectCalls(fallback, true, "loops for the row with gaps");
    const doubles = [1, 2, 3].map((seed) => share(inputView([5], "f64", plain, seed)));
    expectSame([doubles, gapless]);
    expectCalls(fallback, true, "loops for f64");
    expectSame([gapless], { ...momentum, assignments: [{ target: 0, expression: pow(value, 2) }] });
    expectCalls(fallback, true, "loops for powers");
  });
});
