/** In-place updates of many tensors at once: what an optimizer does to all parameters, as one kernel. */
import type { HostKernel, HostView } from "../../backends/backend.ts";
import type { Expression } from "../../backends/expression.ts";
import { formatShape, sameShape } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { referencePointwise } from "./pointwise.ts";

declare module "../../backends/backend.ts" {
  interface KernelAttributes {
    assignAll: AssignAllAttributes;
  }
}

/** `row[target] = expression(row)`, element by element. */
export interface Assignment {
  readonly target: number;
  /** `input(i)` is the row's i-th tensor. */
  readonly expression: Expression;
}

export interface AssignAllAttributes {
  /** Done in this order: each sees what those before it have written, in the tensor's precision. */
  readonly assignments: readonly Assignment[];
  /** What `parameter(i)` stands for, in all expressions. */
  readonly parameters: readonly number[];
  /** Tensors in a row. */
  readonly operands: number;
}

/** Rows one after the other, each its assignments one after the other. */
const reference: HostKernel<AssignAllAttributes> = (
  inputs,
  _output,
  { assignments, parameters, operands },
) => {
  for (let first = 0; first < inputs.length; first += operands) {
    const row: readonly HostView[] = inputs.slice(first, first + operands);
    for (const { target, expression } of assignments)
      referencePointwise(row, row[target], { expression, parameters });
  }
};

/**
 * Does the assignments for every row of tensors. All tensors of a row have one shape, and no element that is written
 * is in two rows. The writes are counted, as those of `assign`. Throws when shapes or backends in a row differ.
 */
export function assignAll(
  rows: readonly (readonly Tensor[])[],
  assignments: readonly Assignment[],
  parameters: readonly number[] = [],
): void {
  if (rows.length === 0 || assignments.length === 0) return;
  const [[{ backend }]] = rows;
  const operands = rows[0].length;
  for (const row of rows) checkRow(row, rows[0]);
  backend.run({
    kernel: "assignAll",
    reference,
    inputs: rows.flat(),
    output: rows[0][assignments[0].target],
    attributes: { assignments, parameters, operands },
  });
  for (const row of rows) for (const { target } of assignments) row[target].storage.version += 1;
}

function checkRow(row: readonly Tensor[], first: readonly Tensor[]): void {
  if (row.length !== first.length)
    throw new Error(`assignAll: rows of ${first.length} and of ${row.length} tensors; give all the same`);
  for (const x of row) {
    if (!sameShape(x.shape, row[0].shape))
      throw new Error(
        `assignAll: ${formatShape(x.shape)} and ${formatShape(row[0].shape)} in one row; ` +
          "all its tensors need one shape",
      );
    if (x.backend !== first[0].backend)
      throw new Error("assignAll: tensors live on two backends; update those of each by itself");
  }
}
