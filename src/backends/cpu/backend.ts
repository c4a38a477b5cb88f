/** The CPU backend: host memory, an account of it, and the kernels it was given. */
import type {
  Backend,
  BackendInfo,
  Buffer,
  HostKernelSet,
  HostView,
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

export interface CpuBackendOptions {
  readonly kernels: HostKernelSet;
  /** Default: ordinary typed arrays. */
  readonly memory?: HostMemory;
  /** What `info()` says of the kernels. */
  readonly description?: string;
  /** Threads that the kernels use. Default 1. */
  readonly threads?: number;
  /** Fills freed memory with NaN (or 0xEE bytes), so that a kernel that relies on cleared memory is caught. */
  readonly poison?: boolean;
}

export class CpuBackend implements Backend {
  readonly name = "cpu";
  poison: boolean;
  private readonly kernels: HostKernelSet;
  private readonly account = new MemoryAccount();
  private readonly hostMemory: HostMemory;
  private readonly description: string;
  private readonly threads: number;

  constructor(options: CpuBackendOptions) {
    const { kernels, memory = new HeapMemory(), description = "", threads = 1, poison = false } = options;
    this.description = description;
    this.threads = threads;
    this.kernels = kernels;
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
    if (this.poison) data.fill(dtype === "f32" || dtype === "f64" ? Number.NaN : 0xee);
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
    const own = this.kernels[kernel];
    if (own) own(views, this.hostView(output), attributes, reference);
    else reference(views, this.hostView(output), attributes);
  }

  write(buffer: Buffer, values: ArrayLike<number>): void {
    this.own(buffer).data.set(values);
  }

  async read(buffer: Buffer, start: number, end: number): Promise<TypedArray> {
    return this.readSync(buffer, start, end);
  }

  readSync(buffer: Buffer, start: number, end: number): TypedArray {
    return this.own(buffer).data.slice(start, end);
  }

  memoryReport(): MemoryReport {
    return this.account.report(this.hostMemory.pooledBytes);
  }

  resetPeakMemory(): void {
    this.account.resetPeak();
  }

  info(): BackendInfo {
    return { name: this.name, description: this.description, threads: this.threads };
  }

  private create(dtype: DType, length: number): TypedArray {
    try {
      return this.hostMemory.allocate(dtype, length);
    } catch (cause) {
      const live = (this.account.report(0).liveBytes / 2 ** 20).toFixed(0);
      throw new Error(
        `cpu: cannot allocate ${length} elements of ${dtype} (${live} MiB are in use); ` +
          "use a smaller batch, checkpoint() parts of the model, or run steps in scope()",
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
