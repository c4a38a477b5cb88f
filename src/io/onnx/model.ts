/** An ONNX model as data: the messages of onnx.proto that we read and write, by names of ours. */
import type { Shape } from "../../backends/backend.ts";
import type { ElementFormat } from "../elements.ts";

/** The operators' set of a domain, and its version. The empty domain is ONNX's own. */
export interface OnnxOpset {
  readonly domain: string;
  readonly version: number;
}

/** TensorProto.DataType by our names for the formats; others (strings, complex, eight-bit floats) are not ours. */
export const onnxDataTypes = {
  f32: 1,
  u8: 2,
  i8: 3,
  u16: 4,
  i16: 5,
  i32: 6,
  i64: 7,
  bool: 9,
  f16: 10,
  f64: 11,
  u32: 12,
  u64: 13,
  bf16: 16,
} as const satisfies Record<ElementFormat, number>;

/** Where a tensor's elements are. */
export type OnnxContent =
  | { readonly kind: "raw"; readonly bytes: Uint8Array }
  | { readonly kind: "numbers"; readonly values: readonly number[] }
  | { readonly kind: "integers"; readonly values: readonly bigint[] }
  /** In a file of its own, by keys such as location, offset and length. */
  | { readonly kind: "external"; readonly entries: ReadonlyMap<string, string> }
  | { readonly kind: "text" };

export interface OnnxTensor {
  readonly name: string;
  readonly shape: readonly bigint[];
  /** A number of TensorProto.DataType. */
  readonly dataType: number;
  readonly content: OnnxContent;
}

export type OnnxAttribute =
  | { readonly kind: "float"; readonly value: number }
  | { readonly kind: "integer"; readonly value: bigint }
  | { readonly kind: "text"; readonly value: string }
  | { readonly kind: "tensor"; readonly value: OnnxTensor }
  | { readonly kind: "floats"; readonly value: readonly number[] }
  | { readonly kind: "integers"; readonly value: readonly bigint[] }
  | { readonly kind: "texts"; readonly value: readonly string[] }
  /** A graph, a sparse tensor, a type: what none of our operators takes. */
  | { readonly kind: "other" };

export interface OnnxNode {
  readonly name: string;
  readonly domain: string;
  readonly opType: string;
  /** Names of values; an empty name stands for an optional input that is not given. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: ReadonlyMap<string, OnnxAttribute>;
}

/** An input or output; a dimension is an extent, a name for an extent that varies, or unknown. */
export interface OnnxValueInfo {
  readonly name: string;
  /** A number of TensorProto.DataType; 0 for what is no tensor. */
  readonly dataType: number;
  readonly shape: readonly (number | string | null)[] | null;
}

export interface OnnxGraph {
  readonly name: string;
  /** In an order in which every value is made before it is read. */
  readonly nodes: readonly OnnxNode[];
  readonly initializers: readonly OnnxTensor[];
  readonly inputs: readonly OnnxValueInfo[];
  readonly outputs: readonly OnnxValueInfo[];
  /** Values between the nodes, for readers of the file. */
  readonly values: readonly OnnxValueInfo[];
  readonly hasSparseInitializers: boolean;
}

export interface OnnxModelFile {
  readonly irVersion: number;
  readonly producer: string;
  readonly opsets: readonly OnnxOpset[];
  readonly graph: OnnxGraph;
  readonly metadata: ReadonlyMap<string, string>;
  /** Names of operators that the file defines itself. */
  readonly functions: readonly string[];
}

/** A tensor on the host; integers of 64 bits as doubles, large ones rounded: they are bounds of slices. */
export interface HostTensor {
  readonly format: ElementFormat;
  readonly shape: Shape;
  readonly values: ArrayLike<number>;
}
