/**
 * Expressions as WGSL. Devices may assume that no NaN exists (comparing x with itself, min, max and clamp then hide
 * them), their tanh overflows, their log has few digits near 1, and a float without an integer becomes any; functions
 * that must not are written out here.
 *
 * Where a device may still differ from the CPU: numbers below 1.2e-38 count as 0, and exp, pow and what is made of
 * them have a relative error of up to 4e-6 on the software adapter, where the CPU's have 1e-7 (WGSL allows this, and
 * real devices use it).
 */
import type { BinaryFunction, Expression, UnaryFunction } from "../expression.ts";

/** What an element is in a register. */
export type Scalar = "f32" | "i32";

/** How expressions become WGSL. */
export interface ExpressionPrinter {
  /** What printed functions call. */
  readonly declarations: string;
  /** The function `name(x0, x1, …, q0, q1, …)` of the expression's inputs and parameters. */
  print(
    name: string,
    expression: Expression,
    inputs: readonly Scalar[],
    parameters: number,
    result: Scalar,
  ): string;
}

interface Printed {
  readonly text: string;
  readonly type: Scalar;
}

/** Functions that printed expressions call; put them among a shader's declarations. */
export const expressionFunctions = `
fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }
var<private> nan_bits: u32 = 0x7fc00000u;
var<private> infinity_bits: u32 = 0x7f800000u;
fn f_nan() -> f32 { return bitcast<f32>(nan_bits); }
fn f_infinity() -> f32 { return bitcast<f32>(infinity_bits); }
fn f_max(a: f32, b: f32) -> f32 { return select(max(a, b), f_nan(), is_nan(a) || is_nan(b)); }
fn f_min(a: f32, b: f32) -> f32 { return select(min(a, b), f_nan(), is_nan(a) || is_nan(b)); }
fn f_sign(x: f32) -> f32 { return select(sign(x), x, is_nan(x)); }
fn f_exp(x: f32) -> f32 {
  if (is_nan(x)) { return x; }
  return select(exp(min(x, 88.8)), f_infinity(), x > 88.73);
}
fn f_tanh(x: f32) -> f32 {
  if (is_nan(x)) { return x; }
  let a = abs(x);
  if (a < 0.625) {
    let z = x * x;
    return x + x * z * ((((-5.70498872745e-3 * z + 2.06390887954e-2) * z - 5.37397155531e-2) * z
      + 1.33314422036e-1) * z - 3.33332819422e-1);
  }
  let t = exp(-2.0 * min(a, 20.0));
  return sign(x) * (1.0 - t) / (1.0 + t);
}
fn f_sigmoid(x: f32) -> f32 {
  if (is_nan(x)) { return x; }
  let t = exp(-min(abs(x), 88.0));
  return select(1.0, t, x < 0.0) / (1.0 + t);
}
// ln((1 + s) / (1 - s)) for |s| up to 1/3, by its series.
fn log_of_ratio(s: f32) -> f32 {
  let z = s * s;
  return 2.0 * s * (1.0 + z * (0.333333333 + z * (0.2 + z * (0.142857143 + z * (0.111111111
    + z * (0.0909090909 + z * 0.0769230769))))));
}
fn f_softplus(x: f32) -> f32 {
  if (is_nan(x)) { return x; }
  let t = exp(-min(abs(x), 88.0));
  return max(x, 0.0) + log_of_ratio(t / (2.0 + t));
}
fn f_pow(a: f32, b: f32) -> f32 {
  if (b == 0.0) { return 1.0; }
  if (is_nan(a) || is_nan(b)) { return f_nan(); }
  if (a == 0.0) { return select(0.0, f_infinity(), b < 0.0); }
  let size = pow(abs(a), b);
  if (a > 0.0) { return size; }
  if (floor(b) != b) { return select(f_nan(), size, bitcast<u32>(a) == 0xff800000u); }
  return select(size, -size, abs(b) % 2.0 == 1.0);
}
fn f_log(x: f32) -> f32 {
  if (is_nan(x) || x < 0.0) { return f_nan(); }
  if (x > 0.7 && x < 1.4) { return log_of_ratio((x - 1.0) / (x + 1.0)); }
  return select(log(x), -f_infinity(), x == 0.0);
}
fn f_sqrt(x: f32) -> f32 {
  if (is_nan(x) || x < 0.0) { return f_nan(); }
  return sqrt(x);
}
// As an Int32Array takes it: NaN and infinities are 0, and the rest wraps. 2^31 has the exponent 158.
fn f_int(x: f32) -> i32 {
  let bits = bitcast<u32>(x);
  let exponent = (bits >> 23u) & 255u;
  if (exponent < 158u) { return i32(x); }
  if (exponent > 181u) { return 0; }
  let size = i32(((bits & 0x7fffffu) | 0x800000u) << (exponent - 150u));
  return select(size, -size, (bits >> 31u) == 1u);
}
fn same(a: f32, b: f32) -> bool { return a == b && !is_nan(a) && !is_nan(b); }
`;

const asFloat = ({ text, type }: Printed): string => (type === "f32" ? text : `f32(${text})`);

/** Of a double, the f32 literal; infinities and NaN have none in WGSL. */
export function literal(value: number, type: Scalar): string {
  if (type === "i32") return `${Math.trunc(value)}i`.replace(/^-(.*)$/, "(-$1)");
  if (Number.isNaN(value)) return "f_nan()";
  if (!Number.isFinite(value)) return value > 0 ? "f_infinity()" : "(-f_infinity())";
  const text = Math.fround(value).toString();
  return `${/[.e]/.test(text) ? text : `${text}.0`}f`.replace(/^-(.*)$/, "(-$1)");
}

const floatFunctions: Readonly<Record<Exclude<UnaryFunction, "neg" | "abs" | "sign">, string>> = {
  exp: "f_exp",
  log: "f_log",
  sqrt: "f_sqrt",
  floor: "floor",
  tanh: "f_tanh",
  sigmoid: "f_sigmoid",
  softplus: "f_softplus",
};

function printUnary(name: UnaryFunction, x: Printed): Printed {
  switch (name) {
    case "neg":
      return { text: `(-${x.text})`, type: x.type };
    case "abs":
      return { text: `abs(${x.text})`, type: x.type };
    case "sign":
      return { text: x.type === "f32" ? `f_sign(${x.text})` : `sign(${x.text})`, type: x.type };
    case "floor":
      return x.type === "i32" ? x : { text: `floor(${x.text})`, type: "f32" };
    default:
      return { text: `${floatFunctions[name]}(${asFloat(x)})`, type: "f32" };
  }
}

function printBinary(name: BinaryFunction, left: Printed, right: Printed): Printed {
  const type: Scalar = left.type === "f32" || right.type === "f32" ? "f32" : "i32";
  const [a, b] = type === "f32" ? [asFloat(left), asFloat(right)] : [left.text, right.text];
  const flag = (test: string): Printed => ({ text: `select(0.0, 1.0, ${test})`, type: "f32" });
  const isFloat = type === "f32";
  switch (name) {
    case "add":
      return { text: `(${a} + ${b})`, type };
    case "sub":
      return { text: `(${a} - ${b})`, type };
    case "mul":
      return { text: `(${a} * ${b})`, type };
    case "div":
      return { text: `(${asFloat(left)} / ${asFloat(right)})`, type: "f32" };
    case "pow":
      return { text: `f_pow(${asFloat(left)}, ${asFloat(right)})`, type: "f32" };
    case "min":
    case "max":
      return { text: `${isFloat ? "f_" : ""}${name}(${a}, ${b})`, type };
    case "less":
      return flag(isFloat ? `(${a} < ${b} && !is_nan(${a}) && !is_nan(${b}))` : `(${a} < ${b})`);
    case "lessEqual":
      return flag(isFloat ? `(${a} <= ${b} && !is_nan(${a}) && !is_nan(${b}))` : `(${a} <= ${b})`);
    case "equal":
      return flag(isFloat ? `same(${a}, ${b})` : `(${a} == ${b})`);
    case "notEqual":
      return flag(isFloat ? `!same(${a}, ${b})` : `(${a} != ${b})`);
  }
}

/**
 * The expression as a function \`${"name"}(x0, x1, …, q0, q1, …)\` of its inputs and parameters. `inputs` are the types
 * of the inputs; the result has the type `result`.
 */
export function expressionFunction(
  name: string,
  expression: Expression,
  inputs: readonly Scalar[],
  parameters: number,
  result: Scalar,
): string {
  const lines: string[] = [];
  const known = new Map<Expression, Printed>();
  // Nested expressions get names of their own: comparisons mention an operand several times.
  const named = (printed: Printed): Printed => {
    if (/^[xqt]\d+$/.test(printed.text)) return printed;
    const variable = `t${lines.length}`;
    lines.push(`  let ${variable} = ${printed.text};`);
    return { text: variable, type: printed.type };
  };
  const hasFloats = inputs.includes("f32") || result === "f32";
  const print = (e: Expression): Printed => {
    const before = known.get(e);
    if (before) return before;
    const printed = named(printNode(e));
    known.set(e, printed);
    return printed;
  };
  const printNode = (e: Expression): Printed => {
    switch (e.kind) {
      case "input":
        return { text: `x${e.index}`, type: inputs[e.index] };
      case "constant": {
        const type = hasFloats || !Number.isInteger(e.value) ? "f32" : "i32";
        return { text: literal(e.value, type), type };
      }
      case "parameter":
        return { text: `q${e.index}`, type: "f32" };
      case "unary":
        return printUnary(e.name, print(e.x));
      case "binary":
        return printBinary(e.name, print(e.a), print(e.b));
      case "select": {
        const [test, yes, no] = [print(e.test), print(e.yes), print(e.no)];
        const type: Scalar = yes.type === "f32" || no.type === "f32" ? "f32" : "i32";
        const [a, b] = type === "f32" ? [asFloat(yes), asFloat(no)] : [yes.text, no.text];
        const isSet = test.type === "f32" ? `!same(${test.text}, 0.0)` : `${test.text} != 0`;
        return { text: `select(${b}, ${a}, ${isSet})`, type };
      }
    }
  };
  const value = print(expression);
  const returned =
    value.type === result ? value.text : result === "f32" ? `f32(${value.text})` : `f_int(${value.text})`;
  const arguments_ = [
    ...inputs.map((type, i) => `x${i}: ${type}`),
    ...Array.from({ length: parameters }, (_, i) => `q${i}: f32`),
  ];
  return `fn ${name}(${arguments_.join(", ")}) -> ${result} {\n${lines.join("\n")}\n  return ${returned};\n}`;
}

/** The printer of ordinary kernels. */
export const plainPrinter: ExpressionPrinter = {
  declarations: expressionFunctions,
  print: expressionFunction,
};
