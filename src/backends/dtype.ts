/**
 * The element types of a tensor and the typed arrays that hold them on the host.
 * `f64` exists for reference results and gradient checks; training runs in `f32`.
 */
export type DType = "f32" | "f64" | "i32" | "u8" | "bool";

/** Host memory of a buffer. `bool` is stored as one byte, 0 or 1. */
export type TypedArray = Float32Array | Float64Array | Int32Array | Uint8Array;

const constructors = {
  f32: Float32Array,
  f64: Float64Array,
  i32: Int32Array,
  u8: Uint8Array,
  bool: Uint8Array,
} as const;

/** Bytes of one element. */
export function bytesPerElement(dtype: DType): number {
  return constructors[dtype].BYTES_PER_ELEMENT;
}

/** A zeroed typed array of `length` elements. */
export function createTypedArray(dtype: DType, length: number): TypedArray {
  return new constructors[dtype](length);
}

/** Floating-point types are the ones a gradient can flow through. */
export function isFloat(dtype: DType): dtype is "f32" | "f64" {
  return dtype === "f32" || dtype === "f64";
}
