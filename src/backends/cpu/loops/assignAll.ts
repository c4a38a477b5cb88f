/** In-place updates of many tensors by printed loops, one tensor and one expression at a time. */
import type { HostView } from "../../backend.ts";
import type { Expression } from "../../expression.ts";
import { runPointwise } from "../pointwise.ts";

export interface AssignAllAttributes {
  /** Done in this order for each row; a later one sees what an earlier one wrote. */
  readonly assignments: readonly { readonly target: number; readonly expression: Expression }[];
  readonly parameters: readonly number[];
  /** Views in a row. */
  readonly operands: number;
}

/** Writes to its inputs: those that are targets of an assignment. */
export function assignAll(
  inputs: readonly HostView[],
  _output: HostView,
  { assignments, parameters, operands }: AssignAllAttributes,
): void {
  for (let first = 0; first < inputs.length; first += operands) {
    const row = inputs.slice(first, first + operands);
    for (const { target, expression } of assignments)
      runPointwise(row, row[target], { expression, parameters });
  }
}
