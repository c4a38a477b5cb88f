/**
 * Prints a pointwise expression as a JavaScript loop and runs it.
 *
 * Interpreting the tree per element costs some 50 times the arithmetic; a printed loop over typed arrays lets V8
 * keep everything in registers. One function is compiled per expression and stride pattern and kept.
 */
import type { HostView } from "../backend.ts";
import type { BinaryFunction, Expression, UnaryFunction } from "../expression.ts";
import { collapseAxes } from "./collapse.ts";

const unarySource: Readonly<Record<UnaryFunction, (x: string) => string>> = {
  neg: (x) => `-${x}`,
  exp: (x) => `Math.exp(${x})`,
  log: (x) => `Math.log(${x})`,
  sqrt: (x) => `Math.sqrt(${x})`,
  abs: (x) => `Math.abs(${x})`,
  sign: (x) => `Math.sign(${x})`,
  floor: (x) => `Math.floor(${x})`,
  tanh: (x) => `Math.tanh(${x})`,
  sigmoid: (x) => `1 / (1 + Math.exp(-${x}))`,
  softplus: (x) => `Math.max(${x}, 0) + Math.log1p(Math.exp(-Math.abs(${x})))`,
};

const binarySource: Readonly<Record<BinaryFunction, (a: string, b: string) => string>> = {
  add: (a, b) => `${a} + ${b}`,
  sub: (a, b) => `${a} - ${b}`,
  mul: (a, b) => `${a} * ${b}`,
  div: (a, b) => `${a} / ${b}`,
  pow: (a, b) => `${a} ** ${b}`,
  min: (a, b) => `Math.min(${a}, ${b})`,
  max: (a, b) => `Math.max(${a}, ${b})`,
  less: (a, b) => `${a} < ${b} ? 1 : 0`,
  lessEqual: (a, b) => `${a} <= ${b} ? 1 : 0`,
  equal: (a, b) => `${a} === ${b} ? 1 : 0`,
  notEqual: (a, b) => `${a} !== ${b} ? 1 : 0`,
};

/** How the functions of expressions are printed as JavaScript. */
export interface PointwiseDialect {
  readonly unary: Readonly<Record<UnaryFunction, (x: string) => string>>;
  readonly binary: Readonly<Record<BinaryFunction, (a: string, b: string) => string>>;
  /** What constants, parameters and loaded elements become. */
  number(value: number): number;
  load(x: string): string;
  /** What the printed text may call as `f.name(…)`. */
  readonly functions: Readonly<Record<string, (...numbers: number[]) => number>>;
}

/** One rounding at the end, which f64 needs and which is the most exact for f32. */
const plainDialect: PointwiseDialect = {
  unary: unarySource,
  binary: binarySource,
  number: (value) => value,
  load: (x) => x,
  functions: {},
};

/** Prints `e` as single assignments; a subexpression that occurs twice is computed once. */
function printStatements(e: Expression, dialect: PointwiseDialect): { statements: string[]; result: string } {
  const statements: string[] = [];
  const names = new Map<string, string>();
  const assign = (source: string): string => {
    const known = names.get(source);
    if (known) return known;
    const name = `t${names.size}`;
    names.set(source, name);
    statements.push(`const ${name} = ${source};`);
    return name;
  };
  const print = (node: Expression): string => {
    switch (node.kind) {
      case "input":
        return `v${node.index}`;
      case "parameter":
        return `p${node.index}`;
      case "constant": {
        const value = dialect.number(node.value);
        return value < 0 || Object.is(value, -0) ? `(${value})` : String(value);
      }
      case "unary":
        return assign(dialect.unary[node.name](print(node.x)));
      case "binary":
        return assign(dialect.binary[node.name](print(node.a), print(node.b)));
      case "select":
        return assign(`${print(node.test)} !== 0 ? ${print(node.yes)} : ${print(node.no)}`);
    }
  };
  return { result: print(e), statements };
}

type Loop = (
  arrays: readonly HostView["data"][],
  offsets: readonly number[],
  shape: readonly number[],
  strides: readonly (readonly number[])[],
  parameters: readonly number[],
) => void;

/** Operand 0 is the output. `inner[i]` is operand i's stride along the innermost axis when it is 0 or 1, else null. */
function compile(
  e: Expression,
  rank: number,
  inner: readonly (0 | 1 | null)[],
  parameterCount: number,
  dialect: PointwiseDialect,
): Loop {
  const { statements, result } = printStatements(e, dialect);
  const operands = inner.map((_, i) => i);
  const source: string[] = [];
  for (const i of operands) source.push(`const a${i} = arrays[${i}]; let o${i}_0 = offsets[${i}];`);
  for (let p = 0; p < parameterCount; p++) source.push(`const p${p} = parameters[${p}];`);
  const last = Math.max(rank - 1, 0);
  for (let axis = 0; axis < last; axis++) {
    source.push(`for (let n${axis} = shape[${axis}]; n${axis} > 0; n${axis}--) {`);
    for (const i of operands) source.push(`let o${i}_${axis + 1} = o${i}_${axis};`);
  }
  for (const i of operands)
    if (rank > 0 && inner[i] === null) source.push(`const s${i} = strides[${i}][${last}];`);
  const element = (i: number): string => {
    if (inner[i] === 1) return `a${i}[o${i}_${last} + n]`;
    return inner[i] === 0 ? `a${i}[o${i}_${last}]` : `a${i}[o${i}_${last} + n * s${i}]`;
  };
  const isHoisted = (i: number) => inner[i] === 0;
  const load = (i: number) => `const v${i - 1} = ${dialect.load(element(i))};`;
  source.push(...operands.filter((i) => i > 0 && isHoisted(i)).map(load));
  source.push(`for (let n = 0, end = ${rank === 0 ? "1" : `shape[${last}]`}; n < end; n++) {`);
  source.push(...operands.filter((i) => i > 0 && !isHoisted(i)).map(load), ...statements);
  source.push(`${element(0)} = ${result};`, "}");
  for (let axis = last - 1; axis >= 0; axis--) {
    for (const i of operands) source.push(`o${i}_${axis} += strides[${i}][${axis}];`);
    source.push("}");
  }
  const loop = new Function("arrays", "offsets", "shape", "strides", "parameters", "f", source.join("\n"));
  return (...args) => void loop(...args, dialect.functions);
}

type Attributes = { readonly expression: Expression; readonly parameters: readonly number[] };
type Runner = (inputs: readonly HostView[], output: HostView, attributes: Attributes) => void;

/**
 * What runs expressions in a dialect: `output[i] = e(inputs[0][i], inputs[1][i], …)`; every input already has the
 * output's shape (by stride 0).
 */
export function pointwiseRunner(dialect: PointwiseDialect): Runner {
  const loops = new WeakMap<Expression, Map<string, Loop>>();
  return (inputs, output, attributes) => run(loops, dialect, inputs, output, attributes);
}

/** The runner of the ordinary kernels. */
export const runPointwise: Runner = pointwiseRunner(plainDialect);

function run(
  loops: WeakMap<Expression, Map<string, Loop>>,
  dialect: PointwiseDialect,
  inputs: readonly HostView[],
  output: HostView,
  attributes: Attributes,
): void {
  const operands = [output, ...inputs];
  const { shape, strides } = collapseAxes(operands);
  if (shape.includes(0)) return;
  const rank = shape.length;
  const inner = strides.map((axes) => {
    const stride = rank === 0 ? 0 : axes[rank - 1];
    return stride === 0 || stride === 1 ? stride : null;
  });
  const key = `${rank}:${inner.join()}:${attributes.parameters.length}`;
  const byPattern = loops.get(attributes.expression) ?? new Map<string, Loop>();
  loops.set(attributes.expression, byPattern);
  let loop = byPattern.get(key);
  if (!loop) {
    loop = compile(attributes.expression, rank, inner, attributes.parameters.length, dialect);
    byPattern.set(key, loop);
  }
  loop(
    operands.map((operand) => operand.data),
    operands.map((operand) => operand.offset),
    shape,
    strides,
    attributes.parameters.map(dialect.number),
  );
}
