/** Comparisons, which yield booleans and no gradient, and the choice between two tensors by such a condition. */
import * as e from "../../backends/expression.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { definePointwise, type Operand, operands } from "./pointwise.ts";

const x = e.input(0);
const y = e.input(1);

function comparison(name: string, sign: string, expression: e.Expression) {
  const op = definePointwise({
    name,
    summary: `a ${sign} b, as bool`,
    expression,
    accepts: "any",
    result: "bool",
    domains: [{ kind: "distinct" }],
  });
  return (a: Operand, b: Operand): Tensor => op(operands(name, a, b));
}

/** a < b */
export const less = comparison("less", "<", e.less(x, y));
/** a <= b */
export const lessEqual = comparison("lessEqual", "≤", e.lessEqual(x, y));
/** a > b */
export const greater = comparison("greater", ">", e.greater(x, y));
/** a >= b */
export const greaterEqual = comparison("greaterEqual", "≥", e.greaterEqual(x, y));
/** a = b */
export const equal = comparison("equal", "=", e.equal(x, y));
/** a ≠ b; true where either is NaN */
export const notEqual = comparison("notEqual", "≠", e.notEqual(x, y));

const select = definePointwise({
  name: "where",
  summary: "a where the condition holds, else b",
  expression: e.select(x, y, e.input(2)),
  accepts: "any",
  condition: true,
});

/**
 * `yes` where `condition` (bool) holds, else `no`; all broadcast. The value not chosen contributes nothing, NaN
 * included. Throws when the condition is not bool.
 */
export function where(condition: Tensor, yes: Operand, no: Operand): Tensor {
  return select([condition, ...operands("where", yes, no)]);
}
