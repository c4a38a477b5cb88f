/**
 * The language of pointwise ops: one expression per op, from which every backend prints its loop and autograd
 * derives the gradient. An expression names the op's inputs (`x`), its run-time numbers (`p`) and constants.
 */

/** Functions of one argument that every backend can print. */
export type UnaryFunction =
  | "neg"
  | "exp"
  | "log"
  | "sqrt"
  | "abs"
  | "sign"
  | "floor"
  | "tanh"
  | "sigmoid"
  | "softplus";

/** Functions of two arguments; comparisons yield 1 or 0. */
export type BinaryFunction =
  | "add"
  | "sub"
  | "mul"
  | "div"
  | "pow"
  | "min"
  | "max"
  | "less"
  | "lessEqual"
  | "equal"
  | "notEqual";

export type Expression =
  | { readonly kind: "input"; readonly index: number }
  | { readonly kind: "constant"; readonly value: number }
  | { readonly kind: "parameter"; readonly index: number }
  | { readonly kind: "unary"; readonly name: UnaryFunction; readonly x: Expression }
  | { readonly kind: "binary"; readonly name: BinaryFunction; readonly a: Expression; readonly b: Expression }
  | { readonly kind: "select"; readonly test: Expression; readonly yes: Expression; readonly no: Expression };

type Operand = Expression | number;

const expression = (value: Operand): Expression =>
  typeof value === "number" ? { kind: "constant", value } : value;

const isConstant = (e: Expression, value: number): boolean => e.kind === "constant" && e.value === value;

function unary(name: UnaryFunction): (x: Operand) => Expression {
  return (x) => ({ kind: "unary", name, x: expression(x) });
}

function binary(name: BinaryFunction): (a: Operand, b: Operand) => Expression {
  return (a, b) => ({ kind: "binary", name, a: expression(a), b: expression(b) });
}

/** The `index`-th input of the op. */
export const input = (index: number): Expression => ({ kind: "input", index });
/** The `index`-th run-time number of the op (a slope, a bound), the same for all elements. */
export const parameter = (index: number): Expression => ({ kind: "parameter", index });
const constant = (value: number): Expression => ({ kind: "constant", value });

/** -x, with --x folded to x. */
export const neg = (x: Operand): Expression => {
  const e = expression(x);
  if (e.kind === "constant") return constant(-e.value);
  return e.kind === "unary" && e.name === "neg" ? e.x : { kind: "unary", name: "neg", x: e };
};
export const exp = unary("exp");
export const log = unary("log");
export const sqrt = unary("sqrt");
export const abs = unary("abs");
/** -1, 0 or 1; NaN for NaN. */
export const sign = unary("sign");
export const floor = unary("floor");
export const tanh = unary("tanh");
/** 1 / (1 + exp(-x)), a function of its own so that its gradient never divides infinity by infinity. */
export const sigmoid = unary("sigmoid");
/** log(1 + exp(x)) without overflow. */
export const softplus = unary("softplus");

// Adding 0 and multiplying by 1 are folded, since derivatives produce both by the dozen. Multiplying by 0 is not
// folded at run time (0 * NaN is NaN); `differentiate` leaves out terms whose derivative is structurally zero.
export const add = (a: Operand, b: Operand): Expression => {
  const [x, y] = [expression(a), expression(b)];
  if (isConstant(x, 0)) return y;
  if (isConstant(y, 0)) return x;
  return { kind: "binary", name: "add", a: x, b: y };
};
export const sub = (a: Operand, b: Operand): Expression => {
  const [x, y] = [expression(a), expression(b)];
  if (isConstant(y, 0)) return x;
  if (isConstant(x, 0)) return neg(y);
  return { kind: "binary", name: "sub", a: x, b: y };
};
export const mul = (a: Operand, b: Operand): Expression => {
  const [x, y] = [expression(a), expression(b)];
  if (isConstant(x, 1)) return y;
  if (isConstant(y, 1)) return x;
  if (isConstant(x, -1)) return neg(y);
  if (isConstant(y, -1)) return neg(x);
  return { kind: "binary", name: "mul", a: x, b: y };
};
export const div = (a: Operand, b: Operand): Expression => {
  const [x, y] = [expression(a), expression(b)];
  return isConstant(y, 1) ? x : { kind: "binary", name: "div", a: x, b: y };
};
export const pow = binary("pow");
/** The smaller; NaN if either is. */
export const min = binary("min");
/** The larger; NaN if either is. */
export const max = binary("max");
export const less = binary("less");
export const lessEqual = binary("lessEqual");
export const greater = (a: Operand, b: Operand): Expression => less(b, a);
export const greaterEqual = (a: Operand, b: Operand): Expression => lessEqual(b, a);
export const equal = binary("equal");
export const notEqual = binary("notEqual");

/** `yes` where `test` is not 0, else `no`; the branch not taken does not contribute, not even its NaN. */
export const select = (test: Operand, yes: Operand, no: Operand): Expression => ({
  kind: "select",
  test: expression(test),
  yes: expression(yes),
  no: expression(no),
});

/** How many inputs the expression reads: the highest index + 1. */
export function inputCount(e: Expression): number {
  return Math.max(-1, ...usedInputs(e)) + 1;
}

/** The indices of the inputs that the expression reads, ascending. */
export function usedInputs(e: Expression): number[] {
  const used = new Set<number>();
  const visit = (node: Expression): void => {
    if (node.kind === "input") used.add(node.index);
    else for (const child of children(node)) visit(child);
  };
  visit(e);
  return [...used].sort((a, b) => a - b);
}

function children(e: Expression): Expression[] {
  if (e.kind === "unary") return [e.x];
  if (e.kind === "binary") return [e.a, e.b];
  return e.kind === "select" ? [e.test, e.yes, e.no] : [];
}

/** The same expression with input `used[i]` renamed to input `i`. */
export function remapInputs(e: Expression, used: readonly number[]): Expression {
  const remap = (node: Expression): Expression => remapInputs(node, used);
  switch (e.kind) {
    case "input":
      return input(used.indexOf(e.index));
    case "constant":
    case "parameter":
      return e;
    case "unary":
      return { ...e, x: remap(e.x) };
    case "binary":
      return { ...e, a: remap(e.a), b: remap(e.b) };
    case "select":
      return { ...e, test: remap(e.test), yes: remap(e.yes), no: remap(e.no) };
  }
}

/** The derivative of `e` with respect to input `index`, as an expression of the same inputs; null where it is 0. */
export function differentiate(e: Expression, index: number): Expression | null {
  switch (e.kind) {
    case "input":
      return e.index === index ? constant(1) : null;
    case "constant":
    case "parameter":
      return null;
    case "unary": {
      const inner = differentiate(e.x, index);
      const outer = inner && unaryDerivative(e.name, e.x, e);
      return inner && outer && mul(inner, outer);
    }
    case "binary":
      return binaryDerivative(e.name, e, differentiate(e.a, index), differentiate(e.b, index));
    case "select": {
      const [yes, no] = [differentiate(e.yes, index), differentiate(e.no, index)];
      return yes || no ? select(e.test, yes ?? 0, no ?? 0) : null;
    }
  }
}

/** d name(x) / dx; `value` is name(x) itself, which many derivatives reuse. */
function unaryDerivative(name: UnaryFunction, x: Expression, value: Expression): Expression | null {
  switch (name) {
    case "neg":
      return constant(-1);
    case "exp":
      return value;
    case "log":
      return div(1, x);
    case "sqrt":
      return div(0.5, value);
    case "abs":
      return sign(x);
    case "sign":
    case "floor":
      return null;
    case "tanh":
      return sub(1, mul(value, value));
    case "sigmoid":
      return mul(value, sub(1, value));
    case "softplus":
      return sigmoid(x);
  }
}

function binaryDerivative(
  name: BinaryFunction,
  e: { readonly a: Expression; readonly b: Expression },
  da: Expression | null,
  db: Expression | null,
): Expression | null {
  if (!da && !db) return null;
  const { a, b } = e;
  const sum = (left: Expression | null, right: Expression | null): Expression | null =>
    left && right ? add(left, right) : (left ?? right);
  switch (name) {
    case "add":
      return sum(da, db);
    case "sub":
      return sum(da, db && neg(db));
    case "mul":
      return sum(da && mul(da, b), db && mul(a, db));
    case "div":
      return sum(da && div(da, b), db && neg(div(mul(db, a), mul(b, b))));
    case "pow": {
      // At b = 0 the derivative by a is 0 even for a = 0; at a = 0 the derivative by b is 0 for b >= 0 (its limit).
      const byBase = da && mul(da, select(equal(b, 0), 0, mul(b, pow(a, sub(b, 1)))));
      const byExponent = db && mul(db, select(mul(equal(a, 0), lessEqual(0, b)), 0, mul(pow(a, b), log(a))));
      return sum(byBase, byExponent);
    }
    case "min":
    case "max": {
      // A tie shares the gradient equally, as PyTorch's minimum and maximum do.
      const wins = name === "max" ? greater : less;
      const share = (won: Expression): Expression => select(equal(a, b), 0.5, won);
      return sum(da && mul(da, share(wins(a, b))), db && mul(db, share(wins(b, a))));
    }
    case "less":
    case "lessEqual":
    case "equal":
    case "notEqual":
      return null;
  }
}

const unaryMath: Readonly<Record<UnaryFunction, (x: number) => number>> = {
  neg: (x) => -x,
  exp: Math.exp,
  log: Math.log,
  sqrt: Math.sqrt,
  abs: Math.abs,
  sign: Math.sign,
  floor: Math.floor,
  tanh: Math.tanh,
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
  softplus: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
};

const binaryMath: Readonly<Record<BinaryFunction, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  pow: (a, b) => a ** b,
  min: Math.min,
  max: Math.max,
  less: (a, b) => (a < b ? 1 : 0),
  lessEqual: (a, b) => (a <= b ? 1 : 0),
  equal: (a, b) => (a === b ? 1 : 0),
  notEqual: (a, b) => (a !== b ? 1 : 0),
};

/** The value of the expression for one element: the plain definition that printed loops are tested against. */
export function evaluate(e: Expression, inputs: readonly number[], parameters: readonly number[]): number {
  switch (e.kind) {
    case "input":
      return inputs[e.index];
    case "constant":
      return e.value;
    case "parameter":
      return parameters[e.index];
    case "unary":
      return unaryMath[e.name](evaluate(e.x, inputs, parameters));
    case "binary":
      return binaryMath[e.name](evaluate(e.a, inputs, parameters), evaluate(e.b, inputs, parameters));
    case "select":
      return evaluate(e.test, inputs, parameters) !== 0
        ? evaluate(e.yes, inputs, parameters)
        : evaluate(e.no, inputs, parameters);
  }
}
