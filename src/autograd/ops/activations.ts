/** Activation functions: one expression each; loops and gradients of every order follow from it. */
import * as e from "../../backends/expression.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { definePointwise, type PointwiseOp } from "./pointwise.ts";

const x = e.input(0);

/** Activations with kinks are tested a little away from them. */
const kinks = (...from: number[]) => [{ kind: "away", from }] as const;

const unary =
  (op: PointwiseOp) =>
  (a: Tensor): Tensor =>
    op([a]);

/** max(x, 0), with gradient 0 at 0; NaN stays NaN */
export const relu = unary(
  definePointwise({
    name: "relu",
    summary: "max(x, 0)",
    expression: e.select(e.lessEqual(x, 0), 0, x),
    domains: kinks(0),
  }),
);

const leakyReluOp = definePointwise({
  name: "leakyRelu",
  summary: "x where x > 0, else negativeSlope · x",
  expression: e.select(e.greater(x, 0), x, e.mul(e.parameter(0), x)),
  domains: kinks(0),
  parameters: [[0.01], [0.1]],
});

/** x where x > 0, else negativeSlope · x. Darknet's slope is 0.1, PyTorch's default 0.01. */
export function leakyRelu(a: Tensor, negativeSlope = 0.01): Tensor {
  return leakyReluOp([a], [negativeSlope]);
}

/** 1 / (1 + exp(-x)) */
export const sigmoid = unary(
  definePointwise({ name: "sigmoid", summary: "1 / (1 + exp(−x))", expression: e.sigmoid(x) }),
);

/** Hyperbolic tangent */
export const tanh = unary(definePointwise({ name: "tanh", summary: "tanh(x)", expression: e.tanh(x) }));

/** log(1 + exp(x)) */
export const softplus = unary(
  definePointwise({ name: "softplus", summary: "ln(1 + exp(x))", expression: e.softplus(x) }),
);

/** x · sigmoid(x), also called swish (Ramachandran et al. 2017; Elfwing et al. 2018) */
export const silu = unary(
  definePointwise({ name: "silu", summary: "x · sigmoid(x) (swish)", expression: e.mul(x, e.sigmoid(x)) }),
);

/** x · tanh(softplus(x)) (Misra 2019) */
export const mish = unary(
  definePointwise({
    name: "mish",
    summary: "x · tanh(softplus(x))",
    expression: e.mul(x, e.tanh(e.softplus(x))),
  }),
);

const between = (value: e.Expression, low: e.Expression, high: e.Expression) =>
  e.select(e.lessEqual(value, low), low, e.select(e.greaterEqual(value, high), high, value));

const clampOp = definePointwise({
  name: "clamp",
  summary: "x limited to [low, high]",
  expression: between(x, e.parameter(0), e.parameter(1)),
  domains: kinks(-0.5, 0.75),
  parameters: [[-0.5, 0.75]],
});

/** x limited to [low, high]; the gradient is 0 outside and at the bounds. Throws when low > high. */
export function clamp(a: Tensor, low: number, high: number): Tensor {
  if (!(low <= high)) throw new Error(`clamp: low ${low} is not <= high ${high}`);
  return clampOp([a], [low, high]);
}

/** x limited to [0, 6] */
export function relu6(a: Tensor): Tensor {
  return clamp(a, 0, 6);
}

/** x limited to [low, high], PyTorch's default [-1, 1] */
export function hardTanh(a: Tensor, low = -1, high = 1): Tensor {
  return clamp(a, low, high);
}

/** x / 6 + 1/2 limited to [0, 1] */
export const hardSigmoid = unary(
  definePointwise({
    name: "hardSigmoid",
    summary: "x/6 + 1/2 limited to [0, 1]",
    expression: e.select(e.lessEqual(x, -3), 0, e.select(e.greaterEqual(x, 3), 1, e.add(e.div(x, 6), 0.5))),
    domains: kinks(-3, 3),
  }),
);

/** x · hardSigmoid(x) */
export const hardSwish = unary(
  definePointwise({
    name: "hardSwish",
    summary: "x · hardSigmoid(x)",
    expression: e.select(e.less(x, -3), 0, e.select(e.lessEqual(x, 3), e.mul(x, e.add(e.div(x, 6), 0.5)), x)),
    domains: kinks(-3, 3),
  }),
);
