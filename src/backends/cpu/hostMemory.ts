/** Where the CPU backend's typed arrays lie. Freed ones are kept by size and handed out again. */
import { bytesPerElement, createTypedArray, type DType, type TypedArray } from "../dtype.ts";

export interface HostMemory {
  /** An array of `length` elements, not cleared. Throws a RangeError when there is no room. */
  allocate(dtype: DType, length: number): TypedArray;
  /** Gives the array's memory back for reuse. */
  release(dtype: DType, array: TypedArray): void;
  /** Returns when no kernel uses the arrays any more: before anyone reads or writes them. Left out: none ever does. */
  readonly settle?: () => void;
  /** Bytes kept aside for reuse. */
  readonly pooledBytes: number;
  /** Bytes taken from the system, where that is known. */
  readonly reservedBytes?: number;
  /** The most bytes there can be, where there is a limit. */
  readonly limitBytes?: number;
  /** How long the addresses of kernels are, where kernels have addresses. */
  readonly addressBits?: 32 | 64;
  /** What else would help where there is no room, beside using less: read only then. */
  readonly remedy?: string | undefined;
}

/** Memory kept for reuse. Beyond it freed arrays go to the garbage collector. */
const maxPooledBytes = 1 << 30;

/** Ordinary typed arrays, for engines without shared WebAssembly memory. */
export class HeapMemory implements HostMemory {
  pooledBytes = 0;
  readonly #pool = new Map<string, TypedArray[]>();

  allocate(dtype: DType, length: number): TypedArray {
    const reused = this.#pool.get(`${dtype}${length}`)?.pop();
    if (!reused) return createTypedArray(dtype, length);
    this.pooledBytes -= length * bytesPerElement(dtype);
    return reused;
  }

  release(dtype: DType, array: TypedArray): void {
    if (this.pooledBytes + array.byteLength > maxPooledBytes) return;
    const key = `${dtype}${array.length}`;
    const free = this.#pool.get(key);
    if (free) free.push(array);
    else this.#pool.set(key, [array]);
    this.pooledBytes += array.byteLength;
  }
}
