/**
 * Numbers as files store them, little-endian, and as our tensors hold them. Half precision becomes f32; integers
 * become i32 (u8 stays), and those that do not fit are an error, never another number.
 */
import type { DType, TypedArray } from "../backends/dtype.ts";
import { FileFormatError } from "./errors.ts";

/** Bytes of one element by format. */
const elementBytes = {
  f64: 8,
  f32: 4,
  f16: 2,
  bf16: 2,
  i64: 8,
  u64: 8,
  i32: 4,
  u32: 4,
  i16: 2,
  u16: 2,
  i8: 1,
  u8: 1,
  bool: 1,
} as const;

/** An element type that files use. */
export type ElementFormat = keyof typeof elementBytes;

/** Elements in a dtype of ours. */
export interface DecodedElements {
  readonly dtype: DType;
  readonly values: TypedArray;
}

/** Bytes of one element. */
export function bytesPerStoredElement(format: ElementFormat): number {
  return elementBytes[format];
}

/** The dtype in which a tensor holds what a file stores in `format`. */
export function dtypeOfStored(format: ElementFormat): DType {
  switch (format) {
    case "f64":
    case "u8":
    case "bool":
      return format;
    case "f32":
    case "f16":
    case "bf16":
      return "f32";
    default:
      return "i32";
  }
}

/** IEEE 754 half precision: sign, 5 bits of exponent (bias 15), 10 of fraction. */
function fromHalf(halves: Uint16Array): Float32Array {
  const values = new Float32Array(halves.length);
  const bits = new Uint32Array(values.buffer);
  for (let i = 0; i < halves.length; i++) {
    const half = halves[i];
    const [exponent, fraction] = [(half >> 10) & 31, half & 1023];
    // Subnormals of half precision are ordinary numbers of single precision.
    if (exponent === 0) values[i] = fraction * 2 ** -24;
    else bits[i] = ((exponent === 31 ? 255 : exponent + 112) << 23) | (fraction << 13);
    bits[i] |= (half & 0x8000) << 16;
  }
  return values;
}

/** The upper half of single precision. */
function fromBfloat(halves: Uint16Array): Float32Array {
  const bits = Uint32Array.from(halves, (half) => half << 16);
  return new Float32Array(bits.buffer);
}

function toInt32(stored: ArrayLike<number | bigint>, what: string): Int32Array {
  const values = new Int32Array(stored.length);
  for (let i = 0; i < stored.length; i++) {
    const value = stored[i];
    values[i] = Number(value);
    // Compared as stored: a bigint rounded to a double first could fit by accident.
    if (BigInt(values[i]) !== BigInt(value))
      throw new FileFormatError(
        `${what}: element ${i} is ${value}, which does not fit the i32 that integers are held in; ` +
          "store it as a floating-point number",
      );
  }
  return values;
}

/** The bytes at the start of a buffer of their own, where views of wider elements can begin. */
function aligned(bytes: Uint8Array): ArrayBuffer {
  const { buffer, byteOffset, byteLength } = bytes;
  if (buffer instanceof ArrayBuffer && byteOffset === 0 && byteLength === buffer.byteLength) return buffer;
  return new Uint8Array(bytes).buffer;
}

/**
 * Elements from their bytes. `what` names the tensor in errors. Throws when bytes are left over, or an integer does
 * not fit i32.
 */
export function decodeElements(bytes: Uint8Array, format: ElementFormat, what: string): DecodedElements {
  const size = elementBytes[format];
  if (bytes.byteLength % size !== 0)
    throw new FileFormatError(`${what}: ${bytes.byteLength} bytes are no whole number of ${format} elements`);
  const dtype = dtypeOfStored(format);
  const buffer = aligned(bytes);
  switch (format) {
    case "f64":
      return { dtype, values: new Float64Array(buffer) };
    case "f32":
      return { dtype, values: new Float32Array(buffer) };
    case "f16":
      return { dtype, values: fromHalf(new Uint16Array(buffer)) };
    case "bf16":
      return { dtype, values: fromBfloat(new Uint16Array(buffer)) };
    case "i32":
      return { dtype, values: new Int32Array(buffer) };
    case "u8":
      return { dtype, values: new Uint8Array(buffer) };
    case "bool":
      return { dtype, values: new Uint8Array(buffer).map((value) => Number(value !== 0)) };
    case "i64":
      return { dtype, values: toInt32(new BigInt64Array(buffer), what) };
    case "u64":
      return { dtype, values: toInt32(new BigUint64Array(buffer), what) };
    case "u32":
      return { dtype, values: toInt32(new Uint32Array(buffer), what) };
    case "i16":
      return { dtype, values: Int32Array.from(new Int16Array(buffer)) };
    case "u16":
      return { dtype, values: Int32Array.from(new Uint16Array(buffer)) };
    case "i8":
      return { dtype, values: Int32Array.from(new Int8Array(buffer)) };
  }
}

/** The bytes of elements, without a copy. */
export function bytesOf(values: TypedArray): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
