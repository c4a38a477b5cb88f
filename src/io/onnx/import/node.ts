/** What an operator is given of its node: checked attributes when the model is loaded, inputs when it runs. */
import { formatShape, type Shape, sizeOf } from "../../../tensor/layout.ts";
import type { Tensor } from "../../../tensor/tensor.ts";
import { FileFormatError } from "../../errors.ts";
import type { HostTensor, OnnxAttribute, OnnxNode } from "../model.ts";
import { hostTensor } from "../tensors.ts";
import type { Value } from "./value.ts";

/** Lists of places, axes or repeats that are worked out one by one are no longer; sides of images are far shorter. */
const maxListed = 2 ** 22;

/** The inputs of one evaluation of a node. */
export class NodeInputs {
  private readonly values: readonly (Value | null)[];
  private readonly node: NodeReader;

  constructor(node: NodeReader, values: readonly (Value | null)[]) {
    this.node = node;
    this.values = values;
  }

  get count(): number {
    return this.values.length;
  }

  /** Throws when the input is not given. */
  value(index: number): Value {
    const value = this.values[index];
    if (!value) throw this.node.error(`lacks its input ${index}`);
    return value;
  }

  tensor(index: number): Tensor {
    return this.value(index).tensor();
  }

  /** Every input. Throws when there is none. */
  tensors(): Tensor[] {
    if (this.count === 0) throw this.node.error("has no inputs");
    return this.values.map((_, index) => this.tensor(index));
  }

  optionalTensor(index: number): Tensor | null {
    return this.values[index]?.tensor() ?? null;
  }

  /** The elements of a small input, on the host. */
  numbers(index: number): readonly number[] {
    const value = this.value(index);
    this.node.checkListed(sizeOf(value.shape));
    return value.numbers();
  }

  /** Null when the input is not given. */
  optionalNumbers(index: number): readonly number[] | null {
    return this.values[index] ? this.numbers(index) : null;
  }
}

/** Runs a node. */
export type Evaluate = (inputs: NodeInputs) => readonly (Tensor | Value)[];

/** Checks a node and says how to run it. Throws a FileFormatError for what it cannot do. */
export type Operator = (node: NodeReader) => Evaluate;

/** Operators by ONNX's name. */
export type OperatorTable = Readonly<Record<string, Operator>>;

/** Nothing larger is made, 2 GiB in f32; ONNX lets a few bytes of a file ask for it. */
const maxElements = 2 ** 29;

/** A node's attributes by name and kind. What an operator does not ask for is refused: to ignore it would be wrong. */
export class NodeReader {
  readonly opset: number;
  readonly inputCount: number;
  private readonly node: OnnxNode;
  private readonly asked = new Set<string>();

  constructor(node: OnnxNode, opset: number) {
    this.node = node;
    this.opset = opset;
    this.inputCount = node.inputs.length;
  }

  /** How errors call this node: by operator and name. */
  get title(): string {
    const { name, opType, outputs } = this.node;
    return `ONNX: ${opType} node ${JSON.stringify(name || outputs[0])}`;
  }

  /** An error about this node. */
  error(problem: string): FileFormatError {
    return new FileFormatError(`${this.title} ${problem}`);
  }

  /** How many outputs anything may read. */
  get outputCount(): number {
    return this.node.outputs.length;
  }

  /** Throws when an output after the first `count` is wanted. */
  limitOutputs(count: number): void {
    const extra = this.node.outputs.findIndex((name, i) => i >= count && name !== "");
    if (extra >= 0)
      throw this.error(`has output ${extra}, ${this.node.outputs[extra]}, which is not supported`);
  }

  has(name: string): boolean {
    return this.node.attributes.has(name);
  }

  integer(name: string, otherwise?: number): number {
    const attribute = this.attribute(name, "integer");
    if (attribute) return this.plain(name, attribute.value);
    return this.orThrow(name, otherwise);
  }

  flag(name: string, otherwise: boolean): boolean {
    return this.integer(name, Number(otherwise)) !== 0;
  }

  /** Null when the attribute is not given. */
  integers(name: string): readonly number[] | null {
    const attribute = this.attribute(name, "integers");
    return attribute?.value.map((value) => this.plain(name, value)) ?? null;
  }

  float(name: string, otherwise?: number): number {
    return this.attribute(name, "float")?.value ?? this.orThrow(name, otherwise);
  }

  floats(name: string): readonly number[] | null {
    return this.attribute(name, "floats")?.value ?? null;
  }

  text(name: string, otherwise: string): string {
    return this.attribute(name, "text")?.value ?? otherwise;
  }

  tensor(name: string): HostTensor | null {
    const attribute = this.attribute(name, "tensor");
    return attribute && hostTensor(attribute.value);
  }

  /** An axis counted from the front. Throws when there is none such. */
  axis(axis: number, rank: number): number {
    if (!Number.isInteger(axis) || axis < -rank || axis >= rank)
      throw this.error(`has axis ${axis}, its input ${rank} dimensions`);
    return axis < 0 ? axis + rank : axis;
  }

  /** Accepts an attribute whatever it says: it changes nothing here. */
  ignore(name: string): void {
    this.asked.add(name);
  }

  /** Throws unless the attribute, when it is given, is the integer or text that is supported. */
  only(name: string, supported: number | string): void {
    const found = typeof supported === "number" ? this.integer(name, supported) : this.text(name, supported);
    if (found !== supported)
      throw this.error(
        `has ${name} ${JSON.stringify(found)}; only ${JSON.stringify(supported)} is supported`,
      );
  }

  /** Before opset 7, an attribute told training from inference. Throws unless it is inference. */
  checkInference(): void {
    if (this.opset < 7 && this.integer("is_test", 0) !== 1)
      throw this.error("is in training mode; export the model for inference");
  }

  /** Throws for attributes that the operator did not ask for. */
  checkAllAsked(): void {
    for (const name of this.node.attributes.keys())
      if (!this.asked.has(name)) throw this.error(`has the attribute ${name}, which is not supported`);
  }

  /** Throws when a node asks for more elements than any network has. */
  checkSize(shape: Shape): void {
    if (sizeOf(shape) > maxElements)
      throw this.error(`asks for ${formatShape(shape)}, more than ${maxElements} elements`);
  }

  /** Throws when a node asks for a list that is longer than any axis of a network. */
  checkListed(count: number): void {
    if (!(count <= maxListed))
      throw this.error(`asks for ${count} entries one by one, more than ${maxListed}`);
  }

  private attribute<Kind extends OnnxAttribute["kind"]>(
    name: string,
    kind: Kind,
  ): Extract<OnnxAttribute, { kind: Kind }> | null {
    this.asked.add(name);
    const attribute = this.node.attributes.get(name);
    if (!attribute) return null;
    if (!isKind(attribute, kind)) throw this.error(`has ${name} as ${attribute.kind}, where ${kind} belongs`);
    return attribute;
  }

  private plain(name: string, value: bigint): number {
    const number = Number(value);
    if (!Number.isSafeInteger(number)) throw this.error(`has ${name} ${value}, which is out of range`);
    return number;
  }

  private orThrow(name: string, otherwise: number | undefined): number {
    if (otherwise === undefined) throw this.error(`lacks the attribute ${name}`);
    return otherwise;
  }
}

function isKind<Kind extends OnnxAttribute["kind"]>(
  attribute: OnnxAttribute,
  kind: Kind,
): attribute is Extract<OnnxAttribute, { kind: Kind }> {
  return attribute.kind === kind;
}
