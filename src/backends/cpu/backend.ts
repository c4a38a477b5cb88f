/** The CPU backend: host memory, an account of it, and the kernels it was given. */
import type {
  Backend,
  BackendInfo,
  Buffer,
  HostKernel,
  HostKernelSet,
  HostView,
  KernelAttributes,
  KernelCall,
  KernelName,
  View,
} from "../backend.ts";
import type { DType, TypedArray } from "../dtype.ts";
import { MemoryAccount, type MemoryCategory, type MemoryReport } from "../memory.ts";
import { HeapMemory, type HostMemory } from "./hostMemory.ts";

class CpuBuffer implements Buffer {
  readonly dtype: DType;
  readonly data: TypedArray;
  category: MemoryCategory;

  constructor(dtype: DType, data: TypedArray, category: MemoryCategory) {
    this.dtype = dtype;
    this.data = data;
    this.category = category;
  }

  get length(): number {
    return this.data.length;
  }
}

/** Runs an op in a way of its own; `ordinary` is the kernel that would have run. */
export type HostRunner = <K extends KernelName>(
  kernel: K,
  ordinary: HostKernel<KernelAttributes[K]>,
  ...call: Parameters<HostKernel<KernelAttributes[K]>>
) => void;

/** Who is told of every compiled kernel, before and after. */
export interface KernelWatch {
  beginKernel(kernel: KernelName, inputs: readonly HostView[], output: HostView): void;
  endKernel(): void;
}

export interface CpuBackendOptions {
  /** Kernels in plain JavaScript: their results are there when they return. */
  readonly kernels: HostKernelSet;
  /**
   * Kernels that take the place of those. Some may be at work when they return: each waits for the others itself
   * (`memory.settle`) before it touches the memory from JavaScript.
   */
  readonly compiled?: HostKernelSet;
  /** Told of these, but for those that run in reproducible mode. */
  readonly watch?: KernelWatch;
  /** What runs all ops in reproducible mode. Default: their kernels do. */
  readonly reproducibly?: HostRunner;
  /** Default: ordinary typed arrays. */
  readonly memory?: HostMemory;
  /** What `info()` says of the kernels. */
  readonly description?: string;
  /** What `info()` says of what runs them. Default: one thread, plain loops. */
  readonly engine?: Pick<BackendInfo, "threads" | "simd" | "flags" | "selfCheck">;
  /** Fills freed memory with NaN (or 0xEE bytes), so that a kernel that relies on cleared memory is caught. */
  readonly poison?: boolean;
}

export class CpuBackend implements Backend {
  readonly name = "cpu";
  poison: boolean;
  private readonly kernels: HostKernelSet;
  private readonly compiled: HostKernelSet;
  private readonly account = new MemoryAccount();
  private readonly hostMemory: HostMemory;
  private readonly description: string;
  private readonly engine: Required<CpuBackendOptions>["engine"];
  private readonly reproducibly: HostRunner | null;
  private readonly watch: KernelWatch | null;

  constructor(options: CpuBackendOptions) {
    const { kernels, memory = new HeapMemory(), description = "", poison = false } = options;
    this.description = description;
    this.engine = options.engine ?? { threads: 1, simd: "none", flags: [], selfCheck: "none" };
    this.kernels = kernels;
    this.compiled = options.compiled ?? {};
    this.reproducibly = options.reproducibly ?? null;
    this.watch = options.watch ?? null;
    this.hostMemory = memory;
    this.poison = poison;
  }

  allocate(dtype: DType, length: number, category: MemoryCategory): Buffer {
    const buffer = new CpuBuffer(dtype, this.create(dtype, length), category);
    this.account.add(category, buffer.data.byteLength);
    return buffer;
  }

  release(buffer: Buffer): void {
    const { data, dtype, category } = this.own(buffer);
    this.account.remove(category, data.byteLength);
    if (this.poison) {
      this.settle();
      data.fill(dtype === "f32" || dtype === "f64" ? Number.NaN : 0xee);
    }
    this.hostMemory.release(dtype, data);
  }

  recategorize(buffer: Buffer, category: MemoryCategory): void {
    const own = this.own(buffer);
    this.account.remove(own.category, own.data.byteLength);
    this.account.add(category, own.data.byteLength);
    own.category = category;
  }

  run<K extends KernelName>({ kernel, reference, inputs, output, attributes }: KernelCall<K>): void {
    const views = new Array<HostView>(inputs.length);
    for (let i = 0; i < inputs.length; i++) views[i] = this.hostView(inputs[i]);
    const to = this.hostView(output);
    const compiled = this.compiled[kernel];
    if (!compiled || this.reproducibly) this.settle();
    const own = compiled ?? this.kernels[kernel];
    if (this.reproducibly) {
      const ordinary: HostKernel<KernelAttributes[K]> = own
        ? (from, into, settings) => own(from, into, settings, this.settled(reference))
        : reference;
      this.reproducibly(kernel, ordinary, views, to, attributes);
    } else if (compiled) {
      this.watch?.beginKernel(kernel, views, to);
      try {
        compiled(views, to, attributes, this.settled(reference));
      } finally {
        this.watch?.endKernel();
      }
    } else if (own) own(views, to, attributes, this.settled(reference));
    else reference(views, to, attributes);
  }

  /** The loop behind everything that is under way. */
  private settled<Attributes>(reference: HostKernel<Attributes>): HostKernel<Attributes> {
    return (inputs, output, attributes) => {
      this.settle();
      reference(inputs, output, attributes);
    };
  }

  write(buffer: Buffer, values: ArrayLike<number>): void {
    this.settle();
    this.own(buffer).data.set(values);
  }

  memoryOf(buffer: Buffer): TypedArray {
    this.settle();
    return this.own(buffer).data;
  }

  async read(buffer: Buffer, start: number, end: number): Promise<TypedArray> {
    return this.readSync(buffer, start, end);
  }

  readSync(buffer: Buffer, start: number, end: number): TypedArray {
    this.settle();
    return this.own(buffer).data.slice(start, end);
  }

  /** Returns when all kernels are done; whoever reads or writes values waits for that without asking. */
  settle(): void {
    this.hostMemory.settle?.();
  }

  async synchronize(): Promise<void> {
    this.settle();
  }

  memoryReport(): MemoryReport {
    return this.account.report(this.hostMemory.pooledBytes);
  }

  resetPeakMemory(): void {
    this.account.resetPeak();
  }

  info(): BackendInfo {
    const { liveBytes, pooledBytes } = this.memoryReport();
    const {
      reservedBytes = liveBytes + pooledBytes,
      limitBytes = null,
      addressBits = null,
    } = this.hostMemory;
    return {
      name: this.name,
      description: this.description,
      ...this.engine,
      reproducible: this.reproducibly !== null,
      memory: { liveBytes, pooledBytes, reservedBytes, limitBytes, addressBits },
    };
  }

  private create(dtype: DType, length: number): TypedArray {
    try {
      return this.hostMemory.allocate(dtype, length);
    } catch (cause) {
      const { liveBytes, byCategory } = this.account.report(0);
      const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
      const classes = Object.entries(byCategory)
        .filter(([, { live }]) => live >= 2 ** 20)
        .sort(([, a], [, b]) => b.live - a.live)
        .map(([name, { live }]) => `${name} ${mebibytes(live)}`);
      const use = [`${mebibytes(liveBytes)} are in use`, ...classes].join(", ");
      const reason = cause instanceof RangeError ? `; ${cause.message}` : "";
      const { remedy } = this.hostMemory;
      throw new Error(
        `cpu: cannot allocate ${length} elements of ${dtype} (${use}${reason}); ` +
          "use a smaller batch, checkpoint() parts of the model, or run steps in scope()" +
          (remedy ? `; ${remedy}` : ""),
        { cause },
      );
    }
  }

  private hostView({ buffer, shape, strides, offset }: View): HostView {
    const { data, dtype } = this.own(buffer);
    return { data, dtype, shape, strides, offset };
  }

  private own(buffer: Buffer): CpuBuffer {
    if (buffer instanceof CpuBuffer) return buffer;
    throw new Error(
      "cpu: the tensor lives on another backend; make it on this one, with the backend option of tensor(), zeros(), …",
    );
  }
}
