/** Random pointwise expressions, and what arithmetic in f32 may make of them. */
import fc from "fast-check";
import { type Expression, evaluate, type UnaryFunction, usedInputs } from "../../src/backends/expression.ts";

const input = (index: number): Expression => ({ kind: "input", index });

const leaf: fc.Arbitrary<Expression> = fc.oneof(
  { weight: 4, arbitrary: fc.nat(2).map(input) },
  fc.nat(1).map((index): Expression => ({ kind: "parameter", index })),
  fc.constantFrom(0, -0, 1, -1, 0.5, 2, 0.1, -3.7, 1e-30, 1e30).map(
    (value): Expression => ({
      kind: "constant",
      value,
    }),
  ),
);

const plainUnary = ["neg", "sqrt", "abs", "sign", "floor"] as const;
const elementary = ["exp", "log", "tanh", "sigmoid", "softplus"] as const;
const binary = [
  ...["add", "sub", "mul", "div", "min", "max"],
  ...["less", "lessEqual", "equal", "notEqual"],
] as const as readonly (Expression & { kind: "binary" })["name"][];

/** Trees of depth up to 5 over three inputs and two run-time numbers; some subexpressions occur twice. */
function trees(unary: readonly UnaryFunction[]): fc.Arbitrary<Expression> {
  const grow = (below: fc.Arbitrary<Expression>): fc.Arbitrary<Expression> =>
    fc.oneof(
      { weight: 1, arbitrary: leaf },
      {
        weight: 2,
        arbitrary: fc.record({
          kind: fc.constant("unary" as const),
          name: fc.constantFrom(...unary),
          x: below,
        }),
      },
      {
        weight: 4,
        arbitrary: fc.record({
          kind: fc.constant("binary" as const),
          name: fc.constantFrom(...binary),
          a: below,
          b: below,
        }),
      },
      {
        weight: 1,
        arbitrary: below.map((x): Expression => ({ kind: "binary", name: "mul", a: x, b: x })),
      },
      {
        weight: 2,
        arbitrary: fc.record({ kind: fc.constant("select" as const), test: below, yes: below, no: below }),
      },
    );
  return [1, 2, 3, 4].reduce(grow, grow(leaf));
}

/** Only functions that IEEE 754 rounds correctly. */
export const arithmeticTrees = trees(plainUnary);
/** All functions that have a SIMD form. */
export const elementaryTrees = trees([...plainUnary, ...elementary, ...elementary]);

/** The value when every step with an input, and every number that enters one, is rounded to f32. */
export function evaluateInF32(
  e: Expression,
  inputs: readonly number[],
  parameters: readonly number[],
): number {
  const value = (node: Expression): number => evaluateInF32(node, inputs, parameters);
  const step = (node: Expression, ...operands: number[]): number => Math.fround(evaluate(node, operands, []));
  if (usedInputs(e).length === 0) return Math.fround(evaluate(e, inputs, parameters));
  switch (e.kind) {
    case "unary":
      return step({ ...e, x: input(0) }, value(e.x));
    case "binary":
      return step({ ...e, a: input(0), b: input(1) }, value(e.a), value(e.b));
    case "select":
      return value(e.test) !== 0 ? value(e.yes) : value(e.no);
    default:
      return Math.fround(evaluate(e, inputs, parameters));
  }
}

/** The numbers from `low` to `high`, none if low > high, and perhaps NaN. */
export interface Range {
  readonly low: number;
  readonly high: number;
  readonly nan: boolean;
}

const onlyNaN: Range = { low: Number.POSITIVE_INFINITY, high: Number.NEGATIVE_INFINITY, nan: true };
const isEmpty = ({ low, high }: Range): boolean => low > high;
const has = ({ low, high }: Range, value: number): boolean => low <= value && value <= high;
const hasInfinity = (r: Range): boolean =>
  has(r, Number.POSITIVE_INFINITY) || has(r, Number.NEGATIVE_INFINITY);
export const contains = (r: Range, value: number): boolean => (Number.isNaN(value) ? r.nan : has(r, value));

const point = (value: number): Range =>
  Number.isNaN(value) ? onlyNaN : { low: value, high: value, nan: false };

/** Both the exact numbers and those rounded to f32, each off by the relative error and a tiny absolute one at most. */
function rounded({ low, high, nan }: Range, relative = 0): Range {
  if (low > high) return { low, high, nan };
  const tiny = relative > 0 ? 2 ** -125 : 0;
  const [least, most] = [low - Math.abs(low) * relative - tiny, high + Math.abs(high) * relative + tiny];
  const finite = (value: number, bound: number) => (Number.isFinite(bound) ? value : bound);
  const [from, to] = [finite(least, low), finite(most, high)];
  return { low: Math.min(from, Math.fround(from)), high: Math.max(to, Math.fround(to)), nan };
}

/** The relative errors that elementary.ts states. */
export const relativeErrors: Readonly<Partial<Record<UnaryFunction, number>>> = {
  exp: 1e-7,
  log: 1e-7,
  tanh: 1.6e-7,
  sigmoid: 1.6e-7,
  softplus: 1.6e-7,
};

/** All functions of one argument but `abs` grow or, with `neg`, fall. */
function unaryRange(e: Expression & { kind: "unary" }, x: Range): Range {
  const f = (value: number) => evaluate({ ...e, x: input(0) }, [value], []);
  if (isEmpty(x)) return onlyNaN;
  const positiveOnly = e.name === "log" || e.name === "sqrt";
  if (positiveOnly && x.high < 0) return onlyNaN;
  const [a, b] = [f(positiveOnly ? Math.max(x.low, 0) : x.low), f(x.high)];
  const crosses = e.name === "abs" && has(x, 0);
  const exact = {
    low: crosses ? 0 : Math.min(a, b),
    high: Math.max(a, b),
    nan: x.nan || (positiveOnly && x.low < 0),
  };
  return rounded(exact, relativeErrors[e.name] ?? 0);
}

function binaryRange(e: Expression & { kind: "binary" }, x: Range, y: Range): Range {
  const f = (a: number, b: number) => evaluate({ ...e, a: input(0), b: input(1) }, [a, b], []);
  const corners = [x.low, x.high].flatMap((a) => [y.low, y.high].map((b) => f(a, b)));
  const anyNaN = x.nan || y.nan;
  const everything = { low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY };
  const truth = (never: boolean, always: boolean): Range => ({
    low: always ? 1 : 0,
    high: never ? 0 : 1,
    nan: false,
  });
  const empty = isEmpty(x) || isEmpty(y);
  const apart = x.high < y.low || y.high < x.low;
  const same = x.low === x.high && y.low === y.high && x.low === y.low;
  switch (e.name) {
    case "less":
      return truth(empty || x.low >= y.high, !anyNaN && x.high < y.low);
    case "lessEqual":
      return truth(empty || x.low > y.high, !anyNaN && x.high <= y.low);
    case "equal":
      return truth(empty || apart, !anyNaN && same);
    case "notEqual":
      return truth(!anyNaN && same, empty || apart);
  }
  if (empty) return onlyNaN;
  const nanByInfinity = {
    add: hasInfinity(x) && hasInfinity(y) && corners.some(Number.isNaN),
    sub: hasInfinity(x) && hasInfinity(y) && corners.some(Number.isNaN),
    mul: (has(x, 0) && hasInfinity(y)) || (has(y, 0) && hasInfinity(x)),
    div: (has(x, 0) && has(y, 0)) || (hasInfinity(x) && hasInfinity(y)),
  };
  const nan = anyNaN || (e.name in nanByInfinity && nanByInfinity[e.name as keyof typeof nanByInfinity]);
  const numbers = corners.filter((value) => !Number.isNaN(value));
  if (
    (e.name === "div" && has(y, 0)) ||
    ((e.name === "add" || e.name === "sub") && corners.length > numbers.length)
  )
    return numbers.length === 0 && same ? onlyNaN : { ...everything, nan };
  if (numbers.length < corners.length) numbers.push(0);
  return rounded({ low: Math.min(...numbers), high: Math.max(...numbers), nan });
}

/**
 * All values that the expression may have when each step is rounded to f32 or to f64 and elementary functions are
 * off by what they may be: an interval per node, from the leaves up.
 */
export function rangeOf(e: Expression, inputs: readonly number[], parameters: readonly number[]): Range {
  const range = (node: Expression): Range => rangeOf(node, inputs, parameters);
  if (usedInputs(e).length === 0) return rounded(point(evaluate(e, inputs, parameters)));
  switch (e.kind) {
    case "unary":
      return unaryRange(e, range(e.x));
    case "binary":
      return binaryRange(e, range(e.a), range(e.b));
    case "select": {
      const test = range(e.test);
      const branches = [
        ...(test.nan || test.low < 0 || test.high > 0 ? [range(e.yes)] : []),
        ...(has(test, 0) ? [range(e.no)] : []),
      ];
      return {
        low: Math.min(...branches.map(({ low }) => low)),
        high: Math.max(...branches.map(({ high }) => high)),
        nan: branches.some(({ nan }) => nan),
      };
    }
    default:
      return rounded(point(evaluate(e, inputs, parameters)));
  }
}
