/**
 * The CPU backend's memory inside one shared WebAssembly.Memory, so that kernels and worker threads reach every
 * tensor by address. Shared memory grows in place: arrays made before stay valid.
 *
 * Blocks have size classes, eight to each power of two, so that a block fits the next tensor of nearly its size with
 * at most an eighth wasted. Freed blocks are kept by class; what no class can serve is cut from the end. Where the
 * end cannot move any more, free neighbours are joined and cut anew; beyond 4 GiB, before it moves.
 */
import { bytesPerElement, type DType, type TypedArray } from "../../dtype.ts";
import type { HostMemory } from "../hostMemory.ts";
import { warnOnce } from "../warnOnce.ts";
import { type AddressType, hasMemory64, type WasmMemory, type WebAssemblyEngine } from "./encoder/index.ts";

const pageBytes = 65536;
/** 4 GiB, all that 32-bit addresses reach, and 16 GiB, the most that V8 gives with 64-bit ones. */
export const maxPages: Readonly<Record<AddressType, number>> = { i32: 65536, i64: 262_144 };
/** Kernels reach places inside a tensor by offsets of 32 bits with a sign, also where addresses have 64. */
const largestTensor = 2 ** 31;
/** A cache line: no two tensors share one, and 16-byte vectors are aligned. */
const alignment = 64;
/** Kernels may read so far beyond the end of a tensor, into whatever lies there, and ignore what they read. */
const readableSlack = 256;
/** Memory grows by at least so much at a time. */
const growthPages = 1024;
/**
 * Once it has so much, free blocks are joined before it grows: a DenseNet-121 step of 3.4 GiB of tensors then takes 4.8
 * GiB from the system, where it took 6.7.
 */
const joinedFrom = 2 ** 32;

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
  // A power of two by shifting, since every tensor comes by here; clz32 sees 32 bits, and more are refused later.
  const step =
    wanted < 2 ** 32
      ? Math.max(alignment, 1 << (28 - Math.clz32(wanted)))
      : 2 ** (Math.floor(Math.log2(wanted)) - 3);
  return Math.ceil(wanted / step) * step;
}

interface MadeArray {
  readonly dtype: DType;
  readonly array: TypedArray;
}

/** Arrays that an address keeps. */
const arraysKept = 4;

/** Free memory of any size. */
interface Span {
  readonly address: number;
  readonly size: number;
}

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

export class SharedMemory implements HostMemory {
  readonly memory: WasmMemory;
  /** The type of its addresses. */
  readonly address: AddressType;
  pooledBytes = 0;
  /** Set by the runtime whose kernels work here. */
  settle: () => void = () => {};
  readonly #free = new Map<number, number[]>();
  /** What was left when free blocks were joined, by address. */
  #spans: Span[] = [];
  readonly #engine: WebAssemblyEngine;
  readonly #maximumPages: number;
  /** By address, the arrays that were made last, the latest first: networks that take turns want different ones. */
  readonly #lastArrays = new Map<number, MadeArray[]>();
  /** The buffer object that `holds` found last. */
  #lastBuffer: ArrayBufferLike | null = null;
  /**
   * The buffer objects that arrays were made on. V8 gives every shared memory a new one when any of them grows,
   * another backend's or another library's; arrays on an older one still see the same bytes.
   */
  readonly #buffers = new WeakSet<ArrayBufferLike>();
  /** Address 0 stays unused: no tensor lies at a null pointer. */
  #end = alignment;

  /**
   * @param maximumPages the limit, in pages of 64 KiB; by default the most that the addresses reach
   * @param address "i64" for addresses of 64 bits, which not every engine has
   */
  constructor(engine: WebAssemblyEngine, maximumPages?: number, address: AddressType = "i32") {
    this.#engine = engine;
    this.#maximumPages = maximumPages ?? maxPages[address];
    this.address = address;
    const [initial, maximum] = [Math.min(growthPages, this.#maximumPages), this.#maximumPages];
    this.memory = new engine.Memory(
      address === "i64"
        ? { initial: BigInt(initial), maximum: BigInt(maximum), shared: true, address }
        : { initial, maximum, shared: true },
    );
  }

  get reservedBytes(): number {
    return this.memory.buffer.byteLength;
  }

  get limitBytes(): number {
    return this.#maximumPages * pageBytes;
  }

  get addressBits(): 32 | 64 {
    return this.address === "i64" ? 64 : 32;
  }

  get remedy(): string | undefined {
    if (this.address === "i64" || !hasMemory64(this.#engine)) return undefined;
    return (
      "or give the backend 64-bit memory, up to 16 GiB, in which kernels run slower: " +
      "createCpuBackend({ memory64: true }) or GRADWEAVE_MEMORY64=1"
    );
  }

  allocate(dtype: DType, length: number): TypedArray {
    const address = this.allocateBytes(length * bytesPerElement(dtype));
    // Steps repeat: the same block goes to a tensor of the same kind again and again, and can keep its array.
    const made = this.#lastArrays.get(address);
    if (made)
      for (const { dtype: known, array } of made)
        if (known === dtype && array.length === length) return array;
    const { buffer } = this.memory;
    this.#buffers.add(buffer);
    const array = createView(dtype, buffer, address, length);
    if (!made) this.#lastArrays.set(address, [{ dtype, array }]);
    else {
      made.unshift({ dtype, array });
      if (made.length > arraysKept) made.pop();
    }
    return array;
  }

  release(_dtype: DType, array: TypedArray): void {
    this.releaseBytes(array.byteOffset, array.byteLength);
  }

  /** The address of `bytes` bytes, a multiple of 64. Throws a RangeError when there is no room for them. */
  allocateBytes(bytes: number): number {
    const size = sizeClass(bytes);
    const reused = this.#free.get(size)?.pop() ?? this.#cut(size);
    if (reused !== undefined) {
      this.pooledBytes -= size;
      return reused;
    }
    if (this.#end + size + readableSlack > this.reservedBytes) {
      const isWorthJoining = this.pooledBytes >= size && this.reservedBytes >= joinedFrom;
      if (isWorthJoining || !this.#grow(size)) return this.#squeeze(size);
    }
    const address = this.#end;
    this.#end += size;
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

  /** True when the array lies in this memory, where kernels reach all of it, so that one can be given its address. */
  holds({ buffer, byteLength }: TypedArray): boolean {
    if (byteLength >= largestTensor && this.address === "i64") {
      warnOnce(
        "a tensor of 2 GiB or more, which 64-bit memory has room for, goes through plain loops, many times slower; " +
          "a smaller batch keeps every tensor below",
      );
      return false;
    }
    if (buffer === this.#lastBuffer) return true;
    // Kernels make arrays of their own on the newest, which may be newer than any that `allocate` has seen.
    if (buffer !== this.memory.buffer && !this.#buffers.has(buffer)) return false;
    this.#lastBuffer = buffer;
    return true;
  }

  /** Moves the end of the memory so that `size` bytes fit. False when it cannot. */
  #grow(size: number): boolean {
    const pages = this.reservedBytes / pageBytes;
    const missing = Math.ceil((this.#end + size + readableSlack) / pageBytes) - pages;
    const room = this.#maximumPages - pages;
    if (missing > room) return false;
    try {
      const more = Math.min(room, Math.max(missing, growthPages));
      this.memory.grow(this.address === "i64" ? BigInt(more) : more);
      return true;
    } catch {
      // The system refuses before the limit is reached.
      return false;
    }
  }

  /** The end of the smallest span that is large enough. */
  #cut(size: number): number | undefined {
    if (this.#spans.length === 0) return undefined;
    let best = -1;
    for (const [i, span] of this.#spans.entries())
      if (span.size >= size && (best < 0 || span.size < this.#spans[best].size)) best = i;
    if (best < 0) return undefined;
    const { address, size: whole } = this.#spans[best];
    if (whole === size) this.#spans.splice(best, 1);
    else this.#spans[best] = { address, size: whole - size };
    return address + whole - size;
  }

  /** Room for `size` bytes between what is in use, once free neighbours are joined. */
  #squeeze(size: number): number {
    this.#join();
    const address = this.#cut(size);
    if (address !== undefined) {
      this.pooledBytes -= size;
      return address;
    }
    // Joining may have given blocks back to the end.
    if (this.#end + size + readableSlack <= this.reservedBytes || this.#grow(size)) {
      const end = this.#end;
      this.#end += size;
      return end;
    }
    const largest = this.#spans.reduce((most, span) => Math.max(most, span.size), 0);
    throw new RangeError(
      `WebAssembly memory: ${mebibytes(size)} do not fit into the ${mebibytes(this.limitBytes)} ` +
        `that it may have: ${mebibytes(this.#end - this.pooledBytes)} are taken, ` +
        `${mebibytes(this.pooledBytes)} lie free between them, ${mebibytes(largest)} at most in one piece`,
    );
  }

  /** Makes spans of all free blocks, neighbours joined. */
  #join(): void {
    const blocks = [...this.#spans];
    for (const [size, addresses] of this.#free)
      for (const address of addresses) blocks.push({ address, size });
    this.#free.clear();
    // Arrays on blocks that are cut anew would only be kept from the garbage collector.
    this.#lastArrays.clear();
    blocks.sort((a, b) => a.address - b.address);
    const spans: Span[] = [];
    for (const block of blocks) {
      const last = spans.at(-1);
      if (last && last.address + last.size === block.address)
        spans[spans.length - 1] = { address: last.address, size: last.size + block.size };
      else spans.push(block);
    }
    const last = spans.at(-1);
    if (last && last.address + last.size === this.#end) {
      spans.pop();
      this.#end = last.address;
      this.pooledBytes -= last.size;
    }
    this.#spans = spans;
  }
}
