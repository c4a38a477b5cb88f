/**
 * The contract between the tensor library and a device: raw buffers, strided views of them, and kernels.
 * A backend never sees a Tensor, a gradient or a module.
 */
import type { DType, TypedArray } from "./dtype.ts";
import type { MemoryCategory, MemoryReport } from "./memory.ts";

export type Shape = readonly number[];

/** Memory on a device, `length` elements of `dtype`. What it holds besides is the backend's own business. */
export interface Buffer {
  readonly dtype: DType;
  readonly length: number;
}

/** A strided window on memory. Strides and offset count elements, not bytes; a broadcast dimension has stride 0. */
export interface Layout {
  readonly shape: Shape;
  readonly strides: readonly number[];
  readonly offset: number;
}

/** An operand of a kernel: a buffer seen through a layout. */
export interface View extends Layout {
  readonly buffer: Buffer;
}

/** The same operand where the data is a typed array: what reference loops and CPU kernels work on. */
export interface HostView extends Layout {
  readonly dtype: DType;
  readonly data: TypedArray;
}

/**
 * The attributes of every kernel, by kernel name. Each op file adds its own entry by declaration merging,
 * so a kernel whose attributes do not match its op, or that belongs to no op, does not compile.
 */
// biome-ignore lint/suspicious/noEmptyInterface: op files merge their entries into it
export interface KernelAttributes {}

export type KernelName = keyof KernelAttributes;

/**
 * A kernel on host memory. It must write every element of `output` (the memory is not cleared beforehand),
 * must not write anything else, and must accept any strides and any floating dtype its op accepts.
 * `output` never overlaps an input, except that a pointwise kernel may be given an input's exact view. Only
 * `assignAll` writes inputs, those that its attributes name, and `runningStatistics` its first three.
 */
export type HostKernel<Attributes> = (
  inputs: readonly HostView[],
  output: HostView,
  attributes: Attributes,
) => void;

/** A host backend's own kernel. It may leave a call to the op's reference loops, which it is given. */
export type HostBackendKernel<Attributes> = (
  ...call: [...Parameters<HostKernel<Attributes>>, reference: HostKernel<Attributes>]
) => void;

/** The kernels a host backend offers; an op without an entry runs its reference loops. */
export type HostKernelSet = { readonly [K in KernelName]?: HostBackendKernel<KernelAttributes[K]> };

/**
 * One kernel launch. `reference` is the op's own plain loop, used by backends that have nothing faster. The output is
 * memory of its own, but for `pointwise` and `normReluInputGradient`, whose output may be one of their inputs.
 */
export interface KernelCall<K extends KernelName = KernelName> {
  readonly kernel: K;
  readonly reference: HostKernel<KernelAttributes[K]>;
  readonly inputs: readonly View[];
  readonly output: View;
  readonly attributes: KernelAttributes[K];
}

/**
 * The vectors that kernels compute with: none (plain loops), 128 bits, 128 bits with fused multiply-add, or pairs of
 * those that the engine makes 256 bits wide.
 */
export type SimdLevel = "none" | "simd128" | "relaxed" | "revectorised";

/** An experimental flag of the engine: in use, refused by the user, or dropped because a self-check failed with it. */
export interface EngineFlag {
  readonly name: string;
  readonly state: "accepted" | "refused" | "dropped";
}

/** What a backend says about itself, for reports and bug reports. */
export interface BackendInfo {
  readonly name: string;
  readonly description: string;
  readonly threads: number;
  readonly simd: SimdLevel;
  readonly flags: readonly EngineFlag[];
  /** Whether the kernels' arithmetic gave known results when the backend was made; "none" where nothing is checked. */
  readonly selfCheck: "passed" | "failed" | "none";
  /** Whether every op has the same bits on every backend that says so. Left out: no. */
  readonly reproducible?: boolean;
  readonly memory: {
    /** In tensors now. */
    readonly liveBytes: number;
    /** Kept aside for reuse. */
    readonly pooledBytes: number;
    /** Taken from the system, for tensors, workspace and reuse. */
    readonly reservedBytes: number;
    /** The most that can be had; null where only the system limits it. */
    readonly limitBytes: number | null;
    /** How long the addresses of kernels are: 32 bits reach 4 GiB. Null or left out where kernels have none. */
    readonly addressBits?: 32 | 64 | null;
  };
}

/** Kernels that were remembered while they ran, to be run again as they are. */
export interface Recording {
  /** How many. */
  readonly kernels: number;
  /** Runs them again, on whatever their buffers hold now. Throws once disposed of. */
  replay(): void;
  /** Gives their memory back. */
  dispose(): void;
}

/** All launches of one kernel in a profile. */
export interface KernelTime {
  readonly label: string;
  readonly launches: number;
  readonly milliseconds: number;
}

export interface Backend {
  readonly name: string;
  /**
   * Uninitialised memory; throws a named error when it cannot be had. Where `mayRound` is true, a backend that was asked
   * to may store f32 in half precision; kernels compute in f32 all the same. Default false.
   */
  allocate(dtype: DType, length: number, category: MemoryCategory, mayRound?: boolean): Buffer;
  /** Gives the memory back for reuse. Using the buffer afterwards is a bug of the caller. */
  release(buffer: Buffer): void;
  /** Moves a buffer's bytes to another class of the memory report. */
  recategorize(buffer: Buffer, category: MemoryCategory): void;
  run<K extends KernelName>(call: KernelCall<K>): void;
  /** Copies `values` into the whole buffer. */
  write(buffer: Buffer, values: ArrayLike<number>): void;
  /** The buffer's memory itself, on backends whose memory is the host's: values are made where they are to lie. */
  memoryOf?(buffer: Buffer): TypedArray;
  /** Elements `start` to `end`, copied to the host once all work queued before is done. */
  read(buffer: Buffer, start: number, end: number): Promise<TypedArray>;
  /** The synchronous twin of `read`, on backends whose memory is the host's. */
  readSync?(buffer: Buffer, start: number, end: number): TypedArray;
  /** Resolves when all work queued before is done, on backends that compute apart from the host. */
  synchronize?(): Promise<void>;
  /**
   * Runs `body` and remembers its kernels, on backends that can run them again without being told each anew. `body`
   * must not read values. Throws while another recording is made.
   */
  record?<Result>(body: () => Result): { readonly result: Result; readonly recording: Recording };
  /**
   * Runs `body` with a clock around every kernel and gives the time of each, the longest first, on backends whose device
   * has such clocks. Throws where this one has none.
   */
  profile?(body: () => Promise<void>): Promise<readonly KernelTime[]>;
  memoryReport(): MemoryReport;
  /** Starts a new peak measurement from what is live now. */
  resetPeakMemory(): void;
  info(): BackendInfo;
}
