/**
 * The CPU backend's memory inside one shared WebAssembly.Memory, so that kernels and worker threads reach every
 * tensor by address. Shared memory grows in place: arrays made before stay valid.
 *
 * Blocks have size classes, eight to each power of two, so that a block fits the next tensor of nearly its size with
 * at most an eighth wasted. Freed blocks are kept by class; what no class can serve is cut from the end.
 */
import { bytesPerElement, type DType, type TypedArray } from "../../dtype.ts";
import type { HostMemory } from "../hostMemory.ts";
import type { WasmMemory, WebAssemblyEngine } from "./encoder/index.ts";

const pageBytes = 65536;
/** 4 GiB, all that 32-bit addresses reach. */
export const maxPages = 65536;
/** A cache line: no two tensors share one, and 16-byte vectors are aligned. */
const alignment = 64;
/** Kernels may read so far beyond the end of a tensor, into whatever lies there, and ignore what they read. */
const readableSlack = 256;
/** Memory grows by at least so much at a time. */
const growthPages = 1024;

function createView(dtype: DType, buffer: ArrayBufferLike, address: number, length: number): TypedArray {
  switch (dtype) {
    case "f32":
      return new Float32Array(buffer, address, length);
    case "f64":
      return new Float64Array(buffer, address, length);
    case "i32":
      return new Int32Array(buffer, address, length);
    case "u8":
    case "bool":
      return new Uint8Array(buffer, address, length);
  }
}

/** The smallest class of at least `bytes`: a multiple of an eighth of the power of two below it. */
export function sizeClass(bytes: number): number {
  const wanted = Math.max(bytes, alignment);
  const step = Math.max(alignment, 2 ** (Math.floor(Math.log2(wanted)) - 3));
  return Math.ceil(wanted / step) * step;
}

export class SharedMemory implements HostMemory {
  readonly memory: WasmMemory;
  pooledBytes = 0;
  readonly #free = new Map<number, number[]>();
  /** By address, the array that was made last. */
  readonly #lastArrays = new Map<number, { readonly dtype: DType; readonly array: TypedArray }>();
  /**
   * The buffer objects that arrays were made on. V8 gives every shared memory a new one when any of them grows,
   * another backend's or another library's; arrays on an older one still see the same bytes.
   */
  readonly #buffers = new WeakSet<ArrayBufferLike>();
  /** Address 0 stays unused: no tensor lies at a null pointer. */
  #end = alignment;

  constructor(engine: WebAssemblyEngine) {
    this.memory = new engine.Memory({ initial: growthPages, maximum: maxPages, shared: true });
  }

  allocate(dtype: DType, length: number): TypedArray {
    const address = this.allocateBytes(length * bytesPerElement(dtype));
    // Steps repeat: the same block goes to a tensor of the same kind again and again, and can keep its array.
    const last = this.#lastArrays.get(address);
    if (last?.dtype === dtype && last.array.length === length) return last.array;
    const { buffer } = this.memory;
    this.#buffers.add(buffer);
    const array = createView(dtype, buffer, address, length);
    this.#lastArrays.set(address, { dtype, array });
    return array;
  }

  release(_dtype: DType, array: TypedArray): void {
    this.releaseBytes(array.byteOffset, array.byteLength);
  }

  /** The address of `bytes` bytes, a multiple of 64. Throws a RangeError when 4 GiB are not enough. */
  allocateBytes(bytes: number): number {
    const size = sizeClass(bytes);
    const reused = this.#free.get(size)?.pop();
    if (reused !== undefined) {
      this.pooledBytes -= size;
      return reused;
    }
    const address = this.#end;
    this.#growTo(address + size + readableSlack);
    this.#end = address + size;
    return address;
  }

  /** Gives back what `allocateBytes` returned for the same number of bytes. */
  releaseBytes(address: number, bytes: number): void {
    const size = sizeClass(bytes);
    const free = this.#free.get(size);
    if (free) free.push(address);
    else this.#free.set(size, [address]);
    this.pooledBytes += size;
  }

  /** True when the array lies in this memory, so that a kernel can be given its address. */
  holds({ buffer }: TypedArray): boolean {
    return this.#buffers.has(buffer);
  }

  #growTo(bytes: number): void {
    const have = this.memory.buffer.byteLength;
    if (bytes <= have) return;
    const missing = Math.ceil((bytes - have) / pageBytes);
    const room = maxPages - have / pageBytes;
    if (missing > room)
      throw new RangeError(`WebAssembly memory: ${bytes} bytes exceed the 4 GiB that 32-bit addresses reach`);
    this.memory.grow(Math.min(room, Math.max(missing, growthPages)));
  }
}
