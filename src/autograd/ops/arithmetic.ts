/** Arithmetic and elementary functions, by expression. Operands broadcast; numbers take the tensor's dtype. */
import * as e from "../../backends/expression.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { definePointwise, type Operand, operands, type PointwiseOp } from "./pointwise.ts";

const x = e.input(0);
const y = e.input(1);
const awayFromZero = { kind: "away", from: [0] } as const;
const positive = { kind: "positive" } as const;
const distinct = { kind: "distinct" } as const;

const binary =
  (name: string, op: PointwiseOp) =>
  (a: Operand, b: Operand): Tensor =>
    op(operands(name, a, b));

const unary =
  (op: PointwiseOp) =>
  (a: Tensor): Tensor =>
    op([a]);

/** a + b */
export const add = binary(
  "add",
  definePointwise({ name: "add", summary: "a + b", expression: e.add(x, y), accepts: "number" }),
);

/** a - b */
export const sub = binary(
  "sub",
  definePointwise({ name: "sub", summary: "a − b", expression: e.sub(x, y), accepts: "number" }),
);

/** a · b, element by element */
export const mul = binary(
  "mul",
  definePointwise({ name: "mul", summary: "a · b", expression: e.mul(x, y), accepts: "number" }),
);

/** a / b */
export const div = binary(
  "div",
  definePointwise({
    name: "div",
    summary: "a / b",
    expression: e.div(x, y),
    domains: [{ kind: "real" }, awayFromZero],
  }),
);

/** a to the power b */
export const pow = binary(
  "pow",
  definePointwise({
    name: "pow",
    summary: "a ** b",
    expression: e.pow(x, y),
    domains: [positive, { kind: "real" }],
  }),
);

/** The smaller of a and b; a tie shares the gradient equally. */
export const minimum = binary(
  "minimum",
  definePointwise({
    name: "minimum",
    summary: "min(a, b)",
    expression: e.min(x, y),
    accepts: "number",
    domains: [distinct, { kind: "away", from: [0] }],
  }),
);

/** The larger of a and b; a tie shares the gradient equally. */
export const maximum = binary(
  "maximum",
  definePointwise({
    name: "maximum",
    summary: "max(a, b)",
    expression: e.max(x, y),
    accepts: "number",
    domains: [distinct, { kind: "away", from: [0] }],
  }),
);

/** -x */
export const neg = unary(
  definePointwise({ name: "neg", summary: "−x", expression: e.neg(x), accepts: "number" }),
);

/** e to the power x */
export const exp = unary(definePointwise({ name: "exp", summary: "exp(x)", expression: e.exp(x) }));

/** Natural logarithm */
export const log = unary(
  definePointwise({ name: "log", summary: "ln(x)", expression: e.log(x), domains: [positive] }),
);

/** Square root */
export const sqrt = unary(
  definePointwise({ name: "sqrt", summary: "√x", expression: e.sqrt(x), domains: [positive] }),
);

/** |x|, with gradient 0 at 0 */
export const abs = unary(
  definePointwise({
    name: "abs",
    summary: "|x|",
    expression: e.abs(x),
    accepts: "number",
    domains: [awayFromZero],
  }),
);

/** -1, 0 or 1 */
export const sign = unary(
  definePointwise({
    name: "sign",
    summary: "sign of x: −1, 0 or 1",
    expression: e.sign(x),
    domains: [awayFromZero],
  }),
);

/** The largest integer not above x */
export const floor = unary(
  definePointwise({
    name: "floor",
    summary: "largest integer ≤ x",
    expression: e.floor(x),
    domains: [{ kind: "away", from: [-3, -2, -1, 0, 1, 2, 3] }],
  }),
);

/** x² */
export const square = unary(
  definePointwise({ name: "square", summary: "x²", expression: e.mul(x, x), accepts: "number" }),
);

const fusedMultiplyAdd = definePointwise({
  name: "multiplyAdd",
  summary: "a · b + c in one pass",
  expression: e.add(e.mul(x, y), e.input(2)),
});

/** a · b + c in one pass over memory; the operands broadcast. */
export function multiplyAdd(a: Tensor, b: Tensor, c: Tensor): Tensor {
  return fusedMultiplyAdd([a, b, c]);
}
