/** The ONNX graph while it is written: nodes, constants, and names that nothing else has. */
import type { DType } from "../../../backends/dtype.ts";
import type { GraphNode } from "../../../graph/index.ts";
import { tensor as makeTensor } from "../../../tensor/create.ts";
import type { Tensor } from "../../../tensor/tensor.ts";
import { bytesOf } from "../../elements.ts";
import { type OnnxAttribute, type OnnxNode, type OnnxTensor, onnxDataTypes } from "../model.ts";
import { integersTensor } from "../tensors.ts";
import type { Recording } from "./recording.ts";

/** An attribute's value: integers are integers, `{ float }` is a float, even of an integer value. */
export type AttributeValue = number | readonly number[] | string | { readonly float: number };

function attribute(value: AttributeValue): OnnxAttribute {
  if (typeof value === "number") return { kind: "integer", value: BigInt(value) };
  if (typeof value === "string") return { kind: "text", value };
  return "float" in value
    ? { kind: "float", value: value.float }
    : { kind: "integers", value: value.map(BigInt) };
}

export class Emitter {
  readonly recording: Recording;
  readonly nodes: OnnxNode[] = [];
  readonly initializers: OnnxTensor[] = [];
  private readonly values = new Map<number, string>();
  private readonly constants = new Map<string, string>();
  private readonly taken = new Set<string>();
  private place = "";

  constructor(recording: Recording) {
    this.recording = recording;
  }

  /** The graph's values that have names, by value. */
  get named(): ReadonlyMap<number, string> {
    return this.values;
  }

  /** A name like the wanted one that nothing has. */
  unique(wanted: string): string {
    let name = wanted;
    for (let i = 1; this.taken.has(name); i++) name = `${wanted}_${i}`;
    this.taken.add(name);
    return name;
  }

  /** Names a value of the graph. */
  bind(value: number, name: string): void {
    this.values.set(value, name);
  }

  /** What is emitted now belongs to this op: its names begin with the module's path. */
  enter({ modulePath }: GraphNode): void {
    this.place = modulePath ? `${modulePath}/` : "";
  }

  /** The name of a value of the graph; one that does not depend on the inputs becomes an initializer. */
  operand(value: number): string {
    const known = this.values.get(value);
    if (known) return known;
    const { recording } = this;
    if (recording.isDependent(value))
      throw new Error(`exportOnnx: value ${value} of the graph is read before it is made`);
    const state = recording.stateName(value);
    const name = this.unique(state ?? `${this.place}constant`);
    this.initializer(name, recording.tensor(value));
    this.values.set(value, name);
    return name;
  }

  /** Emits a node of one output and returns its name. */
  node(
    opType: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, AttributeValue>> = {},
  ): string {
    const output = this.unique(`${this.place}${opType}`);
    this.nodes.push({
      name: output,
      domain: "",
      opType,
      inputs,
      outputs: [output],
      attributes: new Map(Object.entries(attributes).map(([key, value]) => [key, attribute(value)])),
    });
    return output;
  }

  /** A list of 64-bit integers as an input: shapes, axes. */
  integers(values: readonly number[]): string {
    return this.constant(`integers ${values.join(" ")}`, "integers", (name) =>
      this.initializers.push(integersTensor(name, values)),
    );
  }

  /** One number of a dtype as an input. */
  scalar(value: number, dtype: DType): string {
    return this.constant(`${dtype} ${Object.is(value, -0) ? "-0" : value}`, "scalar", (name) =>
      this.initializer(name, makeTensor(value, { dtype })),
    );
  }

  /** A list of numbers of a dtype and shape as an input. */
  numbers(values: readonly number[], dtype: DType, shape: readonly number[] = [values.length]): string {
    return this.constant(`${dtype} ${shape.join(" ")}: ${values.join(" ")}`, "numbers", (name) =>
      this.initializer(name, makeTensor(values, { dtype, shape })),
    );
  }

  /** Equal constants are written once. */
  private constant(key: string, kind: string, write: (name: string) => void): string {
    const known = this.constants.get(key);
    if (known) return known;
    const name = this.unique(`constants/${kind}`);
    write(name);
    this.constants.set(key, name);
    return name;
  }

  private initializer(name: string, tensor: Tensor): void {
    this.initializers.push({
      name,
      shape: tensor.shape.map(BigInt),
      dataType: onnxDataTypes[tensor.dtype],
      // A copy: on the CPU the elements may be a view of memory that is freed or written later.
      content: { kind: "raw", bytes: bytesOf(tensor.dataSync().slice()) },
    });
  }
}
