/** ONNX messages from bytes. Field numbers are those of onnx.proto (onnx/onnx.proto3 in the ONNX repository). */
import { FileFormatError } from "../errors.ts";
import type {
  OnnxAttribute,
  OnnxContent,
  OnnxGraph,
  OnnxModelFile,
  OnnxNode,
  OnnxOpset,
  OnnxTensor,
  OnnxValueInfo,
} from "./model.ts";
import { type WireField, WireReader } from "./wire.ts";

const error = (problem: string): FileFormatError => new FileFormatError(`ONNX: ${problem}`);

/** The type of an attribute whose fields do not tell: AttributeProto.AttributeType. */
const attributeTypes = {
  1: "float",
  2: "integer",
  3: "text",
  6: "floats",
  7: "integers",
  8: "texts",
} as const;

class Decoder {
  private readonly wire = new WireReader();

  model(message: Uint8Array): OnnxModelFile {
    let [irVersion, producer, graph] = [0, "", null as OnnxGraph | null];
    const opsets: OnnxOpset[] = [];
    const metadata = new Map<string, string>();
    const functions: string[] = [];
    for (const field of this.wire.fields(message)) {
      if (field.number === 1) irVersion = Number(signed(field));
      else if (field.number === 2) producer = text(field);
      else if (field.number === 7) graph = this.graph(bytesOf(field));
      else if (field.number === 8) opsets.push(this.opset(bytesOf(field)));
      else if (field.number === 14) metadata.set(...this.entry(bytesOf(field)));
      else if (field.number === 25) functions.push(this.name(bytesOf(field)));
    }
    if (!graph) throw error("the file holds no graph; is this an ONNX file?");
    return { irVersion, producer, opsets, graph, metadata, functions };
  }

  tensor(message: Uint8Array): OnnxTensor {
    let [name, dataType, isExternal] = ["", 0, false];
    let raw: Uint8Array | null = null;
    const shape: bigint[] = [];
    const numbers: number[] = [];
    const integers: bigint[] = [];
    const entries = new Map<string, string>();
    let holdsText = false;
    for (const field of this.wire.fields(message)) {
      if (field.number === 1) pushAll(shape, this.integers(field));
      else if (field.number === 2) dataType = Number(signed(field));
      else if (field.number === 4) pushAll(numbers, floats(field));
      else if (field.number === 5 || field.number === 7) pushAll(integers, this.integers(field));
      else if (field.number === 6) holdsText = true;
      else if (field.number === 8) name = text(field);
      else if (field.number === 9) raw = bytesOf(field);
      else if (field.number === 10) pushAll(numbers, doubles(field));
      else if (field.number === 11) pushAll(integers, this.unsigned(field));
      else if (field.number === 13) entries.set(...this.entry(bytesOf(field)));
      else if (field.number === 14) isExternal = signed(field) === 1n;
    }
    const content = (): OnnxContent => {
      if (isExternal) return { kind: "external", entries };
      if (holdsText) return { kind: "text" };
      if (raw) return { kind: "raw", bytes: raw };
      return integers.length > 0
        ? { kind: "integers", values: integers }
        : { kind: "numbers", values: numbers };
    };
    return { name, shape, dataType, content: content() };
  }

  private opset(message: Uint8Array): OnnxOpset {
    let [domain, version] = ["", 0];
    for (const field of this.wire.fields(message)) {
      if (field.number === 1) domain = text(field);
      else if (field.number === 2) version = Number(signed(field));
    }
    // "ai.onnx" is another name of ONNX's own domain.
    return { domain: domain === "ai.onnx" ? "" : domain, version };
  }

  private graph(message: Uint8Array): OnnxGraph {
    let [name, hasSparseInitializers] = ["", false];
    const nodes: OnnxNode[] = [];
    const initializers: OnnxTensor[] = [];
    const inputs: OnnxValueInfo[] = [];
    const outputs: OnnxValueInfo[] = [];
    const values: OnnxValueInfo[] = [];
    for (const field of this.wire.fields(message)) {
      if (field.number === 1) nodes.push(this.node(bytesOf(field)));
      else if (field.number === 2) name = text(field);
      else if (field.number === 5) initializers.push(this.tensor(bytesOf(field)));
      else if (field.number === 11) inputs.push(this.valueInfo(bytesOf(field)));
      else if (field.number === 12) outputs.push(this.valueInfo(bytesOf(field)));
      else if (field.number === 13) values.push(this.valueInfo(bytesOf(field)));
      else if (field.number === 15) hasSparseInitializers = true;
    }
    return { name, nodes, initializers, inputs, outputs, values, hasSparseInitializers };
  }

  private node(message: Uint8Array): OnnxNode {
    let [name, domain, opType] = ["", "", ""];
    const inputs: string[] = [];
    const outputs: string[] = [];
    const attributes = new Map<string, OnnxAttribute>();
    for (const field of this.wire.fields(message)) {
      if (field.number === 1) inputs.push(text(field));
      else if (field.number === 2) outputs.push(text(field));
      else if (field.number === 3) name = text(field);
      else if (field.number === 4) opType = text(field);
      else if (field.number === 5) attributes.set(...this.attribute(bytesOf(field)));
      else if (field.number === 7) domain = text(field);
    }
    return { name, domain: domain === "ai.onnx" ? "" : domain, opType, inputs, outputs, attributes };
  }

  private attribute(message: Uint8Array): [name: string, value: OnnxAttribute] {
    let [name, type] = ["", 0];
    let single: OnnxAttribute | null = null;
    const numbers: number[] = [];
    const integers: bigint[] = [];
    const texts: string[] = [];
    for (const field of this.wire.fields(message)) {
      if (field.number === 1) name = text(field);
      else if (field.number === 2) single = { kind: "float", value: floats(field)[0] ?? 0 };
      else if (field.number === 3) single = { kind: "integer", value: signed(field) };
      else if (field.number === 4) single = { kind: "text", value: text(field) };
      else if (field.number === 5) single = { kind: "tensor", value: this.tensor(bytesOf(field)) };
      else if (field.number === 7) pushAll(numbers, floats(field));
      else if (field.number === 8) pushAll(integers, this.integers(field));
      else if (field.number === 9) texts.push(text(field));
      else if (field.number === 20) type = Number(signed(field));
      else if (field.number !== 13) single = { kind: "other" };
    }
    const several = (kind: string | undefined): OnnxAttribute => {
      if (integers.length > 0 || kind === "integers") return { kind: "integers", value: integers };
      if (texts.length > 0 || kind === "texts") return { kind: "texts", value: texts };
      if (numbers.length > 0 || kind === "floats") return { kind: "floats", value: numbers };
      // A single value of 0 or "" may have been left out.
      if (kind === "float") return { kind: "float", value: 0 };
      if (kind === "integer") return { kind: "integer", value: 0n };
      return kind === "text" ? { kind: "text", value: "" } : { kind: "other" };
    };
    const known: Readonly<Record<number, string>> = attributeTypes;
    return [name, single ?? several(known[type])];
  }

  private valueInfo(message: Uint8Array): OnnxValueInfo {
    let name = "";
    let type: Omit<OnnxValueInfo, "name"> = { dataType: 0, shape: null };
    for (const field of this.wire.fields(message)) {
      if (field.number === 1) name = text(field);
      else if (field.number === 2)
        for (const kind of this.wire.fields(bytesOf(field)))
          if (kind.number === 1) type = this.tensorType(bytesOf(kind));
    }
    return { name, ...type };
  }

  private tensorType(message: Uint8Array): Omit<OnnxValueInfo, "name"> {
    let [dataType, shape] = [0, null as (number | string | null)[] | null];
    for (const field of this.wire.fields(message)) {
      if (field.number === 1) dataType = Number(signed(field));
      else if (field.number === 2) {
        shape = [];
        for (const dimension of this.wire.fields(bytesOf(field)))
          if (dimension.number === 1) shape.push(this.dimension(bytesOf(dimension)));
      }
    }
    return { dataType, shape };
  }

  private dimension(message: Uint8Array): number | string | null {
    let extent: number | string | null = null;
    for (const field of this.wire.fields(message)) {
      if (field.number === 1) extent = Number(signed(field));
      else if (field.number === 2) extent = text(field);
    }
    return extent;
  }

  /** Key and value of a StringStringEntryProto. */
  private entry(message: Uint8Array): [key: string, value: string] {
    const pair: [string, string] = ["", ""];
    for (const field of this.wire.fields(message))
      if (field.number === 1 || field.number === 2) pair[field.number - 1] = text(field);
    return pair;
  }

  private name(message: Uint8Array): string {
    for (const field of this.wire.fields(message)) if (field.number === 1) return text(field);
    return "";
  }

  private unsigned(field: WireField): bigint[] {
    return field.kind === "varint" ? [field.value] : this.wire.packedVarints(bytesOf(field));
  }

  private integers(field: WireField): bigint[] {
    return this.unsigned(field).map((value) => BigInt.asIntN(64, value));
  }
}

function pushAll<Value>(list: Value[], values: readonly Value[]): void {
  for (const value of values) list.push(value);
}

function wrongKind(field: WireField, wanted: string): FileFormatError {
  return error(`field ${field.number} is ${field.kind} where ${wanted} belongs; is this an ONNX file?`);
}

function bytesOf(field: WireField): Uint8Array {
  if (field.kind !== "bytes") throw wrongKind(field, "a message");
  return field.bytes;
}

function signed(field: WireField): bigint {
  if (field.kind !== "varint") throw wrongKind(field, "an integer");
  return BigInt.asIntN(64, field.value);
}

function text(field: WireField): string {
  // Strings in the wild are not always UTF-8; what cannot be decoded is replaced.
  return new TextDecoder().decode(bytesOf(field));
}

/** One number, or several packed ones. */
function reals(field: WireField, single: "fixed32" | "fixed64", size: 4 | 8): number[] {
  if (field.kind !== single && field.kind !== "bytes") throw wrongKind(field, "a number");
  const { bytes } = field;
  if (bytes.byteLength % size !== 0)
    throw error(`${bytes.byteLength} bytes are no whole number of elements of ${size} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.byteLength / size }, (_, i) =>
    size === 4 ? view.getFloat32(4 * i, true) : view.getFloat64(8 * i, true),
  );
}

const floats = (field: WireField): number[] => reals(field, "fixed32", 4);
const doubles = (field: WireField): number[] => reals(field, "fixed64", 8);

/** A model from the bytes of an .onnx file. Throws a FileFormatError where they are none. */
export function decodeModel(bytes: Uint8Array): OnnxModelFile {
  return new Decoder().model(bytes);
}

/** A tensor from the bytes of a .pb file, as ONNX's test data has them. Throws a FileFormatError. */
export function decodeTensor(bytes: Uint8Array): OnnxTensor {
  return new Decoder().tensor(bytes);
}
