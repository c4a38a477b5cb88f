/**
 * The part of the WebAssembly API that the backend uses, typed here: TypeScript has it only in the library of the
 * browser's whole DOM, which would let `window` compile in code that runs in Node.
 */

/** Compiled code, which `postMessage` hands to workers. */
export interface WasmModule {
  readonly [Symbol.toStringTag]: string;
}

export interface WasmInstance {
  readonly exports: Readonly<Record<string, unknown>>;
}

export interface WasmMemory {
  /** Replaced by another when a memory that is not shared grows. */
  readonly buffer: ArrayBuffer | SharedArrayBuffer;
  /** Adds pages of 64 KiB; gives how many there were. Both are bigints for a memory with 64-bit addresses. */
  grow(pages: number | bigint): number | bigint;
}

/** The type of a memory's addresses. Engines have "i64" since 2025 (Node 24), up to 16 GiB. */
export type AddressType = "i32" | "i64";

/** Sizes in pages of 64 KiB. A shared memory must state its maximum. */
export interface MemoryLimits {
  readonly initial: number;
  readonly maximum?: number;
  readonly shared?: boolean;
  /** Default "i32". */
  readonly address?: AddressType;
}

/** The same as the constructor wants it: bigints where addresses are "i64". */
export type MemoryDescriptor = Omit<MemoryLimits, "initial" | "maximum"> & {
  readonly initial: number | bigint;
  readonly maximum?: number | bigint;
};

export interface WebAssemblyEngine {
  validate(bytes: Uint8Array<ArrayBuffer>): boolean;
  readonly Module: new (bytes: Uint8Array<ArrayBuffer>) => WasmModule;
  readonly Instance: new (
    module: WasmModule,
    imports?: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
  ) => WasmInstance;
  readonly Memory: new (descriptor: MemoryDescriptor) => WasmMemory;
}

/** Undefined where the engine has none, or was started without (`node --jitless`). */
export const webAssembly: WebAssemblyEngine | undefined = (
  globalThis as object as { readonly WebAssembly?: WebAssemblyEngine }
).WebAssembly;
