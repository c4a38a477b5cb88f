/** Pointwise ops as ONNX nodes: one node where ONNX has the function, else the expression, operation by operation. */
import type { DType } from "../../../backends/dtype.ts";
import type { BinaryFunction, Expression, UnaryFunction } from "../../../backends/expression.ts";
import type { GraphNode } from "../../../graph/index.ts";
import { onnxDataTypes } from "../model.ts";
import type { PointwiseRecord } from "./attributes.ts";
import type { AttributeValue, Emitter } from "./emitter.ts";

const unaryNodes: Readonly<Record<UnaryFunction, string>> = {
  neg: "Neg",
  exp: "Exp",
  log: "Log",
  sqrt: "Sqrt",
  abs: "Abs",
  sign: "Sign",
  floor: "Floor",
  tanh: "Tanh",
  sigmoid: "Sigmoid",
  softplus: "Softplus",
};

const arithmeticNodes: Readonly<Partial<Record<BinaryFunction, string>>> = {
  add: "Add",
  sub: "Sub",
  mul: "Mul",
  div: "Div",
  pow: "Pow",
  min: "Min",
  max: "Max",
};

/** Ops of one input for which ONNX has one node, with attributes made of the op's run-time numbers. */
const wholeOps: Readonly<
  Record<
    string,
    (parameters: readonly number[]) => [opType: string, attributes: Record<string, AttributeValue>]
  >
> = {
  relu: () => ["Relu", {}],
  leakyRelu: ([slope]) => ["LeakyRelu", { alpha: { float: slope } }],
  hardSigmoid: () => ["HardSigmoid", { alpha: { float: 1 / 6 }, beta: { float: 0.5 } }],
  hardSwish: () => ["HardSwish", {}],
};

/** A value in the ONNX graph; comparisons yield booleans there, where our expressions have 1 and 0. */
interface Operand {
  readonly name: string;
  readonly isBool: boolean;
}

class ExpressionEmitter {
  private readonly emitter: Emitter;
  private readonly inputs: readonly Operand[];
  private readonly parameters: readonly number[];
  /** Of numbers in the expression. */
  private readonly dtype: DType;
  private readonly known = new Map<Expression, Operand>();

  constructor(emitter: Emitter, inputs: readonly Operand[], parameters: readonly number[], dtype: DType) {
    this.emitter = emitter;
    this.inputs = inputs;
    this.parameters = parameters;
    this.dtype = dtype;
  }

  emit(e: Expression): Operand {
    const known = this.known.get(e);
    if (known) return known;
    const made = this.make(e);
    this.known.set(e, made);
    return made;
  }

  asNumber({ name, isBool }: Operand): string {
    return isBool ? this.emitter.node("Cast", [name], { to: onnxDataTypes[this.dtype] }) : name;
  }

  asBool({ name, isBool }: Operand): string {
    if (isBool) return name;
    const isZero = this.emitter.node("Equal", [name, this.emitter.scalar(0, this.dtype)]);
    return this.emitter.node("Not", [isZero]);
  }

  private make(e: Expression): Operand {
    const { emitter, dtype } = this;
    switch (e.kind) {
      case "input":
        return this.inputs[e.index];
      case "constant":
        return { name: emitter.scalar(e.value, dtype), isBool: false };
      case "parameter":
        return { name: emitter.scalar(this.parameters[e.index], dtype), isBool: false };
      case "unary":
        return { name: emitter.node(unaryNodes[e.name], [this.number(e.x)]), isBool: false };
      case "binary":
        return this.binary(e.name, e.a, e.b);
      case "select": {
        const [test, yes, no] = [this.emit(e.test), this.emit(e.yes), this.emit(e.no)];
        if (yes.isBool && no.isBool) return this.choice(this.asBool(test), yes.name, no.name);
        const branches = [this.asNumber(yes), this.asNumber(no)];
        return { name: emitter.node("Where", [this.asBool(test), ...branches]), isBool: false };
      }
    }
  }

  /** Where, of booleans: onnxruntime has it for numbers only. */
  private choice(test: string, yes: string, no: string): Operand {
    const { emitter } = this;
    const chosen = emitter.node("And", [test, yes]);
    const other = emitter.node("And", [emitter.node("Not", [test]), no]);
    return { name: emitter.node("Or", [chosen, other]), isBool: true };
  }

  private binary(name: BinaryFunction, a: Expression, b: Expression): Operand {
    const { emitter } = this;
    const operands = [this.number(a), this.number(b)];
    const opType = arithmeticNodes[name];
    if (opType) return { name: emitter.node(opType, operands), isBool: false };
    if (name === "less") return { name: emitter.node("Less", operands), isBool: true };
    if (name === "lessEqual") return { name: emitter.node("LessOrEqual", operands), isBool: true };
    const equal = emitter.node("Equal", operands);
    return { name: name === "equal" ? equal : emitter.node("Not", [equal]), isBool: true };
  }

  private number(e: Expression): string {
    return this.asNumber(this.emit(e));
  }
}

/** Emits a pointwise op and returns the name of its result. */
export function emitPointwise(
  emitter: Emitter,
  node: GraphNode,
  { expression, parameters }: PointwiseRecord,
): string {
  const { values } = emitter.recording.graph;
  const names = node.inputs.map((value) => emitter.operand(value));
  if (Object.hasOwn(wholeOps, node.op))
    return emitter.node(wholeOps[node.op](parameters)[0], names, wholeOps[node.op](parameters)[1]);
  const types = node.inputs.map((value) => values[value].dtype);
  const dtype = types.find((type) => type !== "bool") ?? "f32";
  if (node.op === "clamp")
    return emitter.node("Clip", [...names, ...parameters.map((bound) => emitter.scalar(bound, dtype))]);
  const inputs = names.map((name, i) => ({ name, isBool: types[i] === "bool" }));
  const expressions = new ExpressionEmitter(emitter, inputs, parameters, dtype);
  const result = expressions.emit(expression);
  const isBool = values[node.output].dtype === "bool";
  return isBool ? expressions.asBool(result) : expressions.asNumber(result);
}
