/** Expressions as WGSL in reproducible mode: every function rounded by itself, numbers below 2^-126 as 0. */
import type { BinaryFunction, Expression, UnaryFunction } from "../../expression.ts";
import {
  type ExpressionPrinter,
  expressionFunction,
  expressionFunctions,
  literal,
  type Scalar,
} from "../wgsl.ts";
import { reproducibleFunctions } from "./functions.ts";

const unaryText: Readonly<Record<UnaryFunction, string>> = {
  neg: "r_negative",
  exp: "r_exp",
  log: "r_log",
  sqrt: "r_sqrt",
  abs: "r_size",
  sign: "r_sign",
  floor: "r_floor",
  tanh: "r_tanh",
  sigmoid: "r_sigmoid",
  softplus: "r_softplus",
};

const flag = (test: string): string => `select(0.0, 1.0, ${test})`;
const ordered = (a: string, b: string): string => `!is_nan(${a}) && !is_nan(${b})`;

const binaryText: Readonly<Record<BinaryFunction, (a: string, b: string) => string>> = {
  add: (a, b) => `r_rounded(${a} + ${b})`,
  sub: (a, b) => `r_rounded(${a} - ${b})`,
  mul: (a, b) => `r_rounded(${a} * ${b})`,
  div: (a, b) => `r_quotient(${a}, ${b})`,
  pow: (a, b) => `r_pow(${a}, ${b})`,
  min: (a, b) => `r_min(${a}, ${b})`,
  max: (a, b) => `r_max(${a}, ${b})`,
  less: (a, b) => flag(`${a} < ${b} && ${ordered(a, b)}`),
  lessEqual: (a, b) => flag(`${a} <= ${b} && ${ordered(a, b)}`),
  equal: (a, b) => flag(`same(${a}, ${b})`),
  notEqual: (a, b) => flag(`!same(${a}, ${b})`),
};

/** See `expressionFunction`; what is not about f32, or only moves numbers, is printed by that. */
function reproducibleFunction(
  name: string,
  expression: Expression,
  inputs: readonly Scalar[],
  parameters: number,
  result: Scalar,
): string {
  if (expression.kind === "input" || ![...inputs, result].includes("f32"))
    return expressionFunction(name, expression, inputs, parameters, result);
  const lines: string[] = [];
  const names = new Map<Expression, string>();
  const print = (e: Expression): string => {
    const known = names.get(e);
    if (known) return known;
    const text = printNode(e);
    const variable = `t${lines.length}`;
    lines.push(`  let ${variable} = ${text};`);
    names.set(e, variable);
    return variable;
  };
  const printNode = (e: Expression): string => {
    switch (e.kind) {
      case "input":
        return inputs[e.index] === "f32" ? `r_rounded(x${e.index})` : `f32(x${e.index})`;
      case "constant":
        return literal(e.value, "f32");
      case "parameter":
        return `r_rounded(q${e.index})`;
      case "unary":
        return `${unaryText[e.name]}(${print(e.x)})`;
      case "binary":
        return binaryText[e.name](print(e.a), print(e.b));
      case "select": {
        const [test, yes, no] = [print(e.test), print(e.yes), print(e.no)];
        return `select(${no}, ${yes}, !same(${test}, 0.0))`;
      }
    }
  };
  const value = print(expression);
  const arguments_ = [
    ...inputs.map((type, i) => `x${i}: ${type}`),
    ...Array.from({ length: parameters }, (_, i) => `q${i}: f32`),
  ];
  const returned = result === "f32" ? value : `f_int(${value})`;
  return `fn ${name}(${arguments_.join(", ")}) -> ${result} {\n${lines.join("\n")}\n  return ${returned};\n}`;
}

export const reproduciblePrinter: ExpressionPrinter = {
  declarations: expressionFunctions + reproducibleFunctions,
  print: reproducibleFunction,
};
