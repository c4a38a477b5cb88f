/** The expressions that recipes are written with. Each function in them is one rounding; their order is the definition. */
import * as e from "../expression.ts";

export { input } from "../expression.ts";

const { input, parameter } = e;

export const constant = (value: number): e.Expression => ({ kind: "constant", value });

/** a + b */
export const plus = e.add(input(0), input(1));
/** a / p */
export const divided = e.div(input(0), parameter(0));
/** a / b */
export const quotient = e.div(input(0), input(1));
/** a − b */
export const minus = e.sub(input(0), input(1));
/** max(a, 0) */
export const positivePart = e.max(input(0), 0);
/** a + p */
export const shifted = e.add(input(0), parameter(0));
/** a + b · p */
export const plusScaled = e.add(input(0), e.mul(input(1), parameter(0)));
/** p · a + q · b */
export const mixed = e.add(e.mul(input(0), parameter(0)), e.mul(input(1), parameter(1)));
/** a + 1 */
export const next = e.add(input(0), 1);
/** exp(a − b) */
export const expOfDifference = e.exp(e.sub(input(0), input(1)));
/** a + ln b */
export const plusLog = e.add(input(0), e.log(input(1)));
/** (a − b) − ln c */
export const minusLog = e.sub(e.sub(input(0), input(1)), e.log(input(2)));
/** 0 where a is infinite, else a */
export const finiteOrZero = e.select(e.equal(e.abs(input(0)), Number.POSITIVE_INFINITY), 0, input(0));

/** 1 / √(variance + ε) */
export const inverseDeviation = e.div(1, e.sqrt(e.add(input(0), parameter(0))));

const centred = e.sub(input(0), input(1));
/** x̂ = (x − mean) · 1/σ of x, mean, 1/σ */
export const normal = e.mul(centred, input(2));
/** weight · x̂ + bias of x, mean, 1/σ, weight, bias */
export const normed = e.add(e.mul(input(3), normal), input(4));
/** max(weight · x̂ + bias, 0), of the same */
export const normedPositive = e.max(normed, 0);
/** The gradient where the ReLU let its input through, of the same and the gradient */
export const passed = e.select(e.lessEqual(normed, 0), 0, input(5));
/** weight · 1/σ · (gradient − (a + x̂ · b) / count) of x, mean, 1/σ, weight, gradient, a, b */
export const normGradient = e.mul(
  e.mul(input(3), input(2)),
  e.sub(input(4), e.div(e.add(input(5), e.mul(normal, input(6))), parameter(0))),
);
