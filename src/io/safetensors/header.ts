/**
 * The header of a safetensors file, to and from bytes: eight bytes of length, then JSON that names each tensor's
 * dtype, shape and place in the data behind it. Reading checks everything that the format promises (the rules of
 * the reference implementation, huggingface/safetensors), so that nothing is allocated on a liar's word.
 */
import type { DType } from "../../backends/dtype.ts";
import { formatShape, type Shape } from "../../tensor/layout.ts";
import { bytesPerStoredElement, type ElementFormat } from "../elements.ts";
import { FileFormatError } from "../errors.ts";
import { type HeaderValue, parseHeaderJson } from "./json.ts";

/** The format's own bound on a header's bytes. */
const maxHeaderBytes = 100_000_000;
/** Bytes of the length before the header. */
export const lengthBytes = 8;
const metadataKey = "__metadata__";

const formats = {
  F64: "f64",
  F32: "f32",
  F16: "f16",
  BF16: "bf16",
  I64: "i64",
  U64: "u64",
  I32: "i32",
  U32: "u32",
  I16: "i16",
  U16: "u16",
  I8: "i8",
  U8: "u8",
  BOOL: "bool",
} as const satisfies Record<string, ElementFormat>;

/** A dtype as safetensors names it. */
export type SafetensorsDType = keyof typeof formats;

const written: Readonly<Record<DType, SafetensorsDType>> = {
  f64: "F64",
  f32: "F32",
  i32: "I32",
  u8: "U8",
  bool: "BOOL",
};

/** A tensor in the file. */
export interface SafetensorsEntry {
  readonly dtype: SafetensorsDType;
  readonly shape: Shape;
  /** First byte, counted from the end of the header. */
  readonly begin: number;
  /** One past its last byte. */
  readonly end: number;
}

/** What a header says. */
export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, SafetensorsEntry>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** A name as errors write it: a liar's may be as long as the header. */
const quoted = (name: string): string => JSON.stringify(name.length > 200 ? `${name.slice(0, 200)}…` : name);

const error = (problem: string): FileFormatError => new FileFormatError(`safetensors: ${problem}`);

/** How the file stores the elements of an entry. */
export function formatOf({ dtype }: SafetensorsEntry): ElementFormat {
  return formats[dtype];
}

/**
 * The header's length from the first bytes of a file of `fileBytes` bytes. Throws when there are fewer than eight, or
 * when the length exceeds the format's bound or the file.
 */
export function readHeaderLength(start: Uint8Array, fileBytes: number): number {
  if (start.byteLength < lengthBytes)
    throw error(`the file has ${fileBytes} bytes, fewer than the 8 of a header's length; is it complete?`);
  const view = new DataView(start.buffer, start.byteOffset, lengthBytes);
  // Compared as a bigint: as a double, 2^64 - 1 and its neighbours would be one number.
  const length = view.getBigUint64(0, true);
  if (length > BigInt(maxHeaderBytes))
    throw error(
      `the header's length ${length} exceeds the bound of ${maxHeaderBytes} bytes; is this a safetensors file?`,
    );
  if (length > BigInt(fileBytes - lengthBytes))
    throw error(
      `the header's length ${length} exceeds the ${fileBytes - lengthBytes} bytes that follow; is the file complete?`,
    );
  return Number(length);
}

const isObject = (value: HeaderValue | undefined): value is ReadonlyMap<string, HeaderValue> =>
  value instanceof Map;

const isIntegers = (value: HeaderValue | undefined): value is readonly number[] =>
  Array.isArray(value) && value.every((item) => typeof item === "number");

const isDType = (value: HeaderValue | undefined): value is SafetensorsDType =>
  typeof value === "string" && Object.hasOwn(formats, value);

/** The bytes of a tensor, exactly; the product of lying extents may not fit a double. */
function exactBytes(shape: Shape, dtype: SafetensorsDType): bigint {
  return shape.reduce(
    (product, extent) => product * BigInt(extent),
    BigInt(bytesPerStoredElement(formats[dtype])),
  );
}

function readEntry(name: string, value: HeaderValue, dataBytes: number): SafetensorsEntry {
  const named = `tensor ${quoted(name)}`;
  if (!isObject(value)) throw error(`${named} is described by no object`);
  for (const field of value.keys())
    if (!["dtype", "shape", "data_offsets"].includes(field))
      throw error(`${named} has the unknown field ${quoted(field)}`);
  const [dtype, shape, offsets] = ["dtype", "shape", "data_offsets"].map((field) => value.get(field));
  if (!isDType(dtype))
    throw error(
      `${named} has dtype ${typeof dtype === "string" ? quoted(dtype) : "missing or no text"}; known are ${Object.keys(formats).join(", ")}`,
    );
  if (!isIntegers(shape)) throw error(`${named} has no shape that is a list of integers`);
  if (shape.length > 64) throw error(`${named} has ${shape.length} dimensions, more than 64`);
  if (!isIntegers(offsets) || offsets.length !== 2)
    throw error(`${named} has no data_offsets that are two integers`);
  const [begin, end] = offsets;
  if (begin > end || end > dataBytes)
    throw error(
      `${named} lies at bytes ${begin} to ${end} of ${dataBytes} bytes of data; is the file complete?`,
    );
  const needed = exactBytes(shape, dtype);
  if (needed !== BigInt(end - begin))
    throw error(
      `${named} of shape ${formatShape(shape)} in ${dtype} takes ${needed} bytes, its data_offsets hold ${end - begin}`,
    );
  return { dtype, shape, begin, end };
}

/** Throws unless the tensors cover the data without gap or overlap. */
function checkCoverage(tensors: ReadonlyMap<string, SafetensorsEntry>, dataBytes: number): void {
  const byPlace = [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  let covered = 0;
  for (const [name, { begin, end }] of byPlace) {
    if (begin !== covered)
      throw error(
        `tensor ${quoted(name)} begins at byte ${begin} of the data, the one before ends at ${covered}: ` +
          `${begin < covered ? "they overlap" : "there is a hole"}`,
      );
    covered = end;
  }
  if (covered !== dataBytes)
    throw error(
      `the tensors cover ${covered} of ${dataBytes} bytes of data; the file has bytes that none owns`,
    );
}

function readMetadata(value: HeaderValue | undefined): ReadonlyMap<string, string> {
  const metadata = new Map<string, string>();
  if (value === undefined) return metadata;
  if (!isObject(value)) throw error(`${metadataKey} is no object`);
  for (const [key, text] of value) {
    if (typeof text !== "string")
      throw error(`${metadataKey} holds something other than text under ${quoted(key)}`);
    metadata.set(key, text);
  }
  return metadata;
}

/**
 * A header from its JSON, given how many bytes of data follow it. Throws a FileFormatError for anything that the
 * format does not allow: unknown dtypes, shapes that do not fill their bytes, equal names, gaps, overlaps, bytes left.
 */
export function readHeader(json: Uint8Array, dataBytes: number): SafetensorsHeader {
  if (json[0] !== 0x7b) throw error('the header does not start with "{"; is this a safetensors file?');
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(json);
  } catch {
    throw error("the header is not valid UTF-8; is this a safetensors file?");
  }
  const root = parseHeaderJson(text);
  if (!isObject(root)) throw error("the header is no object");
  const tensors = new Map<string, SafetensorsEntry>();
  for (const [name, value] of root)
    if (name !== metadataKey) tensors.set(name, readEntry(name, value, dataBytes));
  checkCoverage(tensors, dataBytes);
  return { tensors, metadata: readMetadata(root.get(metadataKey)) };
}

/** What is to be written of a tensor. */
interface Described {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly size: number;
}

/** A header's bytes, its length before it, and the names in the order in which their data follow. */
export interface WrittenHeader {
  readonly bytes: Uint8Array;
  readonly order: readonly string[];
}

/**
 * The header for tensors by name. Wider elements come first in the data and the header is padded with spaces to eight
 * bytes, so that every tensor lies aligned, ready to be mapped. Throws for a tensor called `__metadata__`.
 */
export function writeHeader(
  tensors: ReadonlyMap<string, Described>,
  metadata: ReadonlyMap<string, string>,
): WrittenHeader {
  if (tensors.has(metadataKey))
    throw new Error(
      `saveSafetensors: a tensor cannot be called ${metadataKey}, the format's own key; rename it`,
    );
  const width = ({ dtype }: Described): number => bytesPerStoredElement(formats[written[dtype]]);
  const order = [...tensors].sort(([, a], [, b]) => width(b) - width(a)).map(([name]) => name);
  const entries = metadata.size > 0 ? [[metadataKey, JSON.stringify(Object.fromEntries(metadata))]] : [];
  let begin = 0;
  for (const name of order) {
    const tensor = tensors.get(name);
    if (!tensor) continue;
    const end = begin + tensor.size * width(tensor);
    const entry = { dtype: written[tensor.dtype], shape: tensor.shape, data_offsets: [begin, end] };
    entries.push([name, JSON.stringify(entry)]);
    begin = end;
  }
  const text = `{${entries.map(([name, json]) => `${JSON.stringify(name)}:${json}`).join(",")}}`;
  const json = new TextEncoder().encode(text);
  const padded = Math.ceil(json.byteLength / 8) * 8;
  if (padded > maxHeaderBytes)
    throw new Error(
      `saveSafetensors: a header of ${padded} bytes exceeds the format's bound of ${maxHeaderBytes}; ` +
        "write fewer tensors into one file",
    );
  const bytes = new Uint8Array(lengthBytes + padded).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true);
  bytes.set(json, lengthBytes);
  return { bytes, order };
}
