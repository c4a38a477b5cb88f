/**
 * Prints a pointwise expression as arithmetic on four f32 lanes.
 *
 * What no input enters (1 − β of a moving average) is computed once per run in f64; those numbers and every step
 * with an input are rounded to f32. A sum of products is not contracted, so ordinary arithmetic gives the same bits
 * on every engine. A comparison is a mask of ones or zeros where `select` reads it and the number 1 or 0 where
 * arithmetic does.
 */
import {
  abs,
  add,
  type BinaryFunction,
  div,
  type Expression,
  exp,
  mul,
  neg,
  parameter,
  sigmoid,
  type UnaryFunction,
  usedInputs,
} from "../../../expression.ts";
import type { Expression as Code, Local, Operand } from "../encoder/index.ts";
import { expLanes, type Lanes, logLanes, sigmoidLanes, softplusLanes, tanhLanes } from "./elementary.ts";

type Vector = Local<"v128">;

/** Where inputs and run-time numbers are found. */
export interface Sources extends Lanes {
  readonly input: (index: number) => Vector;
  /** True when `input` gives integers from 0 to 255 in i32 lanes. Default: all inputs are f32. */
  readonly isByte?: (index: number) => boolean;
  readonly parameter: (index: number) => Vector;
}

/** A subexpression in lanes: f32, or i32 that are all ones or all zeros, or i32 from 0 to 255. */
interface Value {
  readonly vector: Vector;
  readonly kind: "number" | "mask" | "byte";
}

const elementary: readonly UnaryFunction[] = ["exp", "log", "tanh", "sigmoid", "softplus"];

function some(e: Expression, holds: (node: Expression) => boolean): boolean {
  if (holds(e)) return true;
  if (e.kind === "unary") return some(e.x, holds);
  if (e.kind === "binary") return some(e.a, holds) || some(e.b, holds);
  return e.kind === "select" && [e.test, e.yes, e.no].some((child) => some(child, holds));
}

/** False for `pow`: as exp(b · log(a)) it would lose up to 7 bits in f32, and networks hardly use it. */
export function isPrintable(e: Expression): boolean {
  return !some(e, (node) => node.kind === "binary" && node.name === "pow");
}

/** Whether the expression takes tens of instructions, beside which those of the loop do not count. */
export function isLong(e: Expression): boolean {
  return some(e, (node) => node.kind === "unary" && elementary.includes(node.name));
}

function unaryLanes(lanes: Lanes, name: UnaryFunction, x: Vector): Code<"v128"> {
  const { f, constant, bits } = lanes;
  const { f32x4, v128 } = f;
  switch (name) {
    case "neg":
    case "sqrt":
    case "abs":
    case "floor":
      return f32x4[name](x);
    case "sign": {
      const one = v128.or(v128.and(x, bits(0x80000000)), constant(1));
      return v128.bitselect(one, x, f32x4.gt(f32x4.abs(x), constant(0)));
    }
    case "exp":
      return expLanes(lanes, x);
    case "log":
      return logLanes(lanes, x);
    case "tanh":
      return tanhLanes(lanes, x);
    case "sigmoid":
      return sigmoidLanes(lanes, x);
    case "softplus":
      return softplusLanes(lanes, x);
  }
}

function binaryLanes({ f: { f32x4 } }: Lanes, name: BinaryFunction, a: Vector, b: Vector): Code<"v128"> {
  switch (name) {
    case "less":
      return f32x4.lt(a, b);
    case "lessEqual":
      return f32x4.le(a, b);
    case "equal":
      return f32x4.eq(a, b);
    case "notEqual":
      return f32x4.ne(a, b);
    case "pow":
      throw new Error("pointwise: pow has no SIMD form; isPrintable() tells before");
    default:
      return f32x4[name](a, b);
  }
}

/** The same text for the same expression; JSON alone writes -0 as 0, and infinities and NaN as null. */
function keyOf(e: Expression): string {
  const write = (_: string, value: unknown) =>
    typeof value === "number" ? (Object.is(value, -0) ? "-0" : String(value)) : value;
  return JSON.stringify(e, write);
}

/**
 * 1 − f for a saturated f as derivatives have it, null for anything else. f32 would cancel it to 0 where f64 has eight
 * digits left: 1 − σ(x) = σ(−x), and 1 − tanh²(x) = 4u / (1 + u)² with u = exp(−2 |x|).
 */
function complement({ a, b }: { readonly a: Expression; readonly b: Expression }): Expression | null {
  if (a.kind !== "constant" || a.value !== 1) return null;
  if (b.kind === "unary" && b.name === "sigmoid") return sigmoid(neg(b.x));
  const isSquare = b.kind === "binary" && b.name === "mul" && keyOf(b.a) === keyOf(b.b);
  if (!isSquare || b.a.kind !== "unary" || b.a.name !== "tanh") return null;
  const u = exp(mul(-2, abs(b.a.x)));
  const sum = add(1, u);
  return div(mul(4, u), mul(sum, sum));
}

/**
 * The expression for f32: its largest subexpressions without inputs as run-time numbers, which are given beside it,
 * and complements without their cancellation.
 */
export function prepare(e: Expression): {
  readonly expression: Expression;
  readonly numbers: readonly Expression[];
} {
  const numbers = new Map<string, { readonly number: Expression; readonly index: number }>();
  const take = (node: Expression): Expression => {
    if (node.kind === "constant" || node.kind === "input") return node;
    if (usedInputs(node).length === 0) {
      const key = keyOf(node);
      const { index } = numbers.get(key) ?? { index: numbers.size };
      numbers.set(key, { number: node, index });
      return parameter(index);
    }
    if (node.kind === "unary") return { ...node, x: take(node.x) };
    if (node.kind === "binary") {
      const form = node.name === "sub" ? complement(node) : null;
      return form ? take(form) : { ...node, a: take(node.a), b: take(node.b) };
    }
    if (node.kind === "select")
      return { ...node, test: take(node.test), yes: take(node.yes), no: take(node.no) };
    return node;
  };
  const expression = take(e);
  return { expression, numbers: [...numbers.values()].map(({ number }) => number) };
}

const comparisons: readonly BinaryFunction[] = ["less", "lessEqual", "equal", "notEqual"];
const isZero = (e: Expression): boolean => e.kind === "constant" && Object.is(e.value, 0);

/** Whether the expression gives integers from 0 to 255, as far as can be told from the inputs that do. */
export function isByteValued(e: Expression, isByte: (input: number) => boolean): boolean {
  switch (e.kind) {
    case "input":
      return isByte(e.index);
    case "constant":
      return Number.isInteger(e.value) && e.value >= 0 && e.value <= 255;
    case "binary":
      return comparisons.includes(e.name);
    case "select":
      return isByteValued(e.yes, isByte) && isByteValued(e.no, isByte);
    default:
      return false;
  }
}

/** Writes the arithmetic of `e` and gives its value; a subexpression that occurs twice is computed once. */
export function printLanes(e: Expression, sources: Sources): Vector {
  const printer = lanePrinter(sources);
  return printer.numberOf(printer.print(e));
}

/** The same for what `isByteValued`, as i32 lanes. */
export function printByteLanes(e: Expression, sources: Sources): Vector {
  const printer = lanePrinter(sources);
  return printer.byteOf(printer.print(e));
}

function lanePrinter(sources: Sources) {
  const { f, constant, bits } = sources;
  const { v128, f32x4, i32x4 } = f;
  const known = new Map<string, Value>();
  const local = (value: Operand<"v128">): Vector => ("index" in value ? value : f.let(value));
  const once = (key: string, kind: Value["kind"], compute: () => Operand<"v128">): Value => {
    const value = known.get(key) ?? { vector: local(compute()), kind };
    known.set(key, value);
    return value;
  };
  const numberOf = ({ vector, kind }: Value): Vector => {
    if (kind === "number") return vector;
    return once(`number ${vector.index}`, "number", () =>
      kind === "mask" ? v128.and(vector, constant(1)) : f32x4.convert_i32x4_s(vector),
    ).vector;
  };
  const maskOf = ({ vector, kind }: Value): Vector => {
    if (kind === "mask") return vector;
    return once(`mask ${vector.index}`, "mask", () =>
      kind === "number" ? f32x4.ne(vector, constant(0)) : i32x4.ne(vector, bits(0)),
    ).vector;
  };
  const byteOf = ({ vector, kind }: Value): Vector => {
    if (kind === "byte") return vector;
    return local(kind === "mask" ? v128.and(vector, bits(1)) : i32x4.trunc_sat_f32x4_s(vector));
  };
  const number = (node: Expression): Vector => numberOf(print(node));

  const print = (node: Expression): Value => {
    switch (node.kind) {
      case "input":
        return {
          vector: sources.input(node.index),
          kind: sources.isByte?.(node.index) ? "byte" : "number",
        };
      case "parameter":
        return { vector: sources.parameter(node.index), kind: "number" };
      case "constant":
        return once(`constant ${Object.is(node.value, -0) ? "-0" : node.value}`, "number", () =>
          constant(node.value),
        );
      case "unary": {
        const x = number(node.x);
        return once(`${node.name} ${x.index}`, "number", () => unaryLanes(sources, node.name, x));
      }
      case "binary": {
        const [a, b] = [number(node.a), number(node.b)];
        const kind = comparisons.includes(node.name) ? "mask" : "number";
        return once(`${node.name} ${a.index} ${b.index}`, kind, () => binaryLanes(sources, node.name, a, b));
      }
      case "select": {
        const test = maskOf(print(node.test));
        // Blending takes three instructions without AVX-512, masking one.
        if (isZero(node.yes)) {
          const no = number(node.no);
          return once(`unless ${test.index} ${no.index}`, "number", () => v128.andnot(no, test));
        }
        const yes = number(node.yes);
        if (isZero(node.no))
          return once(`when ${test.index} ${yes.index}`, "number", () => v128.and(yes, test));
        const no = number(node.no);
        return once(`select ${test.index} ${yes.index} ${no.index}`, "number", () =>
          v128.bitselect(yes, no, test),
        );
      }
    }
  };
  return { print, numberOf, byteOf };
}
