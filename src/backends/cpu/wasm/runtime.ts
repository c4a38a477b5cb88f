/** What kernels need at run time: the shared memory, compiled modules, and scratch memory that is used again. */
import type { HostView, KernelName } from "../../backend.ts";
import type { KernelWatch } from "../backend.ts";
import type {
  Expression,
  FunctionBuilder,
  ModuleBuilder,
  Operand,
  WebAssemblyEngine,
} from "./encoder/index.ts";
import { maxPages, type SharedMemory } from "./sharedMemory.ts";
import { slots } from "./threads/control.ts";
import { ThreadPool } from "./threads/pool.ts";
import { Touched } from "./threads/touched.ts";

/** A kernel as JavaScript calls it: addresses and counts. */
export type WasmFunction = (...args: readonly number[]) => void;

/**
 * A kernel over items that do not depend on each other: `(begin, end, scratch, ...args)` does the items from `begin`
 * to before `end`. `scratch` is the address of memory that no other call uses at the same time.
 */
export type RangeFunction = WasmFunction;

export interface RangeOptions {
  /** What a call needs at its `scratch` address. Default 0. */
  readonly scratchBytes?: number;
  /** The smallest number of items worth a call of its own, as `grainOf` computes it. Default 1. */
  readonly grain?: number;
}

/**
 * Ranges that may be under way when `forRange` returns, with one that is being prepared: what JavaScript writes for one
 * of them may be written over when so many later ones have been run.
 */
export const commandsUnderWay = slots;

/** Two cache lines, which processors fetch together: threads do not disturb each other's scratch memory. */
const scratchAlignment = 128;

/** A thread that takes less than this from the others has cost them more by being told. */
const worthwhileNanoseconds = 4000;

/** The grain of items that take so long each. */
export function grainOf(nanosecondsPerItem: number): number {
  return Math.max(1, Math.ceil(worthwhileNanoseconds / nanosecondsPerItem));
}

export class WasmRuntime implements KernelWatch {
  readonly memory: SharedMemory;
  /** Whether a · b + c may be rounded once (relaxed SIMD). */
  readonly fused: boolean;
  /** Whether V8 makes pairs of vectors into vectors of 256 bits. */
  readonly revectorised: boolean;
  readonly pool: ThreadPool;
  readonly #engine: WebAssemblyEngine;
  readonly #scratch = new Map<string, { address: number; bytes: number }>();
  /** What the kernel touches whose ranges are being run. */
  protected readonly touched = new Touched();
  /** Where the range scratch memory of the main thread begins, and how much further that of the next one does. */
  #rangeAddress = 0;
  #rangeStride = 0;

  constructor(
    engine: WebAssemblyEngine,
    memory: SharedMemory,
    fused: boolean,
    threads = 1,
    revectorised = false,
  ) {
    this.#engine = engine;
    this.memory = memory;
    this.fused = fused;
    this.revectorised = revectorised;
    this.pool = new ThreadPool(memory.memory, threads);
    memory.settle = () => this.settle();
  }

  /**
   * Returns when all ranges are done. Whoever reads or writes the memory from JavaScript, or calls a kernel directly,
   * calls this first.
   */
  settle(): void {
    this.pool.settle();
  }

  /** Numbers in the memory, for JavaScript to read and write: settled. */
  floatsAt(address: number, length: number): Float32Array {
    this.settle();
    return new Float32Array(this.memory.memory.buffer, address, length);
  }

  /** As `floatsAt`, of f64. */
  doublesAt(address: number, length: number): Float64Array {
    this.settle();
    return new Float64Array(this.memory.memory.buffer, address, length);
  }

  /** As `floatsAt`, of i32. */
  integersAt(address: number, length: number): Int32Array {
    this.settle();
    return new Int32Array(this.memory.memory.buffer, address, length);
  }

  /** Compiles a module on the shared memory and gives its exported functions. */
  instantiate(module: ModuleBuilder): Readonly<Record<string, WasmFunction>> {
    const compiled = new this.#engine.Module(module.encode());
    const { exports } = new this.#engine.Instance(compiled, { env: { memory: this.memory.memory } });
    const functions = exports as Readonly<Record<string, WasmFunction>>;
    this.pool.register(compiled, functions);
    return functions;
  }

  /** Imports the shared memory into a module that is being written. */
  importMemory(module: ModuleBuilder): void {
    const { address } = this.memory;
    module.importMemory("env", "memory", { initial: 1, maximum: maxPages[address], shared: true, address });
  }

  /** The bytes of a word of a table that kernels read with `word`. */
  get wordBytes(): number {
    return this.memory.address === "i64" ? 8 : 4;
  }

  /**
   * A table of integers for kernels to read with `word`, which may be addresses: what is written is what they read.
   * Settled.
   */
  wordsAt(address: number, length: number): Int32Array | Float64Array {
    this.settle();
    const { buffer } = this.memory.memory;
    return this.memory.address === "i64"
      ? new Float64Array(buffer, address, length)
      : new Int32Array(buffer, address, length);
  }

  /**
   * Until `endKernel`, ranges touch the operands of this kernel and what it asks of `scratch`, and may be done beside
   * those of other kernels that touch other memory. Ranges outside of kernels are done alone.
   */
  beginKernel(kernel: KernelName, inputs: readonly HostView[], output: HostView): void {
    this.touched.setKernel(kernel, inputs, output);
  }

  endKernel(): void {
    this.touched.setEverything();
  }

  /**
   * The address of at least `bytes` bytes, the same memory for every call under one name. Not cleared. A kernel asks
   * every time anew, by which it is known to touch it.
   */
  scratch(name: string, bytes: number): number {
    const known = this.#scratch.get(name);
    let address = known?.address ?? 0;
    if (!known || known.bytes < bytes) {
      if (known) this.memory.releaseBytes(known.address, known.bytes);
      address = this.memory.allocateBytes(bytes);
      this.#scratch.set(name, { address, bytes });
    }
    this.touched.addScratch(address, bytes);
    return address;
  }

  /** Where scratch memory of ranges begins, at least so many bytes for each thread, which no other thread comes by. */
  #rangeScratch(bytes: number): number {
    if (bytes <= this.#rangeStride) return this.#rangeAddress;
    const { memory, pool } = this;
    pool.settle();
    if (this.#rangeStride > 0) memory.releaseBytes(this.#rangeAddress, pool.threads * this.#rangeStride);
    this.#rangeStride = scratchAlignment * Math.ceil(bytes / scratchAlignment);
    this.#rangeAddress = memory.allocateBytes(pool.threads * this.#rangeStride);
    return this.#rangeAddress;
  }

  /**
   * Does items 0 to before `items`, on all threads where there are enough of them. The result must not depend on how
   * they are split into calls. It may not be there before `settle` returns; ranges that are run later and touch the same
   * memory see it.
   */
  forRange(range: RangeFunction, items: number, args: readonly number[], options: RangeOptions = {}): void {
    if (items === 0) return;
    const { scratchBytes = 0, grain = 1 } = options;
    const { pool, touched } = this;
    const isShared = pool.threads > 1 && items >= 2 * grain;
    const isNow = !isShared && pool.isIdle;
    const scratch = scratchBytes > 0 ? this.#rangeScratch(scratchBytes) : 0;
    if (isNow) {
      range(0, items, scratch, ...args);
      return;
    }
    const itemsPerChunk = isShared ? pool.itemsPerChunk(items, grain) : items;
    const scratchStride = this.#rangeStride;
    pool.run(range, { items, itemsPerChunk, args, scratch, scratchStride, touched });
  }

  /** True when all operands are f32 and lie in the shared memory. */
  accepts(views: readonly HostView[]): boolean {
    return views.every(({ dtype, data }) => dtype === "f32" && this.memory.holds(data));
  }
}

/** The address of a view's first element. */
export function addressOf({ data, offset }: HostView): number {
  return data.byteOffset + offset * data.BYTES_PER_ELEMENT;
}

/** a · b + c in four lanes, fused where that is allowed. */
export function multiplyAdd(
  f: FunctionBuilder,
  fused: boolean,
  a: Operand<"v128">,
  b: Operand<"v128">,
  c: Operand<"v128">,
): Expression<"v128"> {
  return fused ? f.f32x4.relaxed_madd(a, b, c) : f.f32x4.add(c, f.f32x4.mul(a, b));
}
