/** The WebGPU backend: kernels are queued, and values come back only when they are asked for. */
import type {
  Backend,
  BackendInfo,
  Buffer,
  KernelCall,
  KernelName,
  KernelTime,
  Recording,
  View,
} from "../backend.ts";
import type { DType, TypedArray } from "../dtype.ts";
import type { MemoryCategory, MemoryReport } from "../memory.ts";
import { CommandStream } from "./commands.ts";
import type { OpenDevice } from "./device.ts";
import { kernels } from "./kernels/index.ts";
import { DeviceMemory, GpuMemory } from "./memory.ts";
import { profileKernels } from "./profile.ts";
import { runReproducibly } from "./reproducible/index.ts";
import { reproduciblePrinter } from "./reproducible/printer.ts";
import { GpuRuntime, type GpuView } from "./runtime.ts";
import { Staging, toWords } from "./staging.ts";
import { plainPrinter } from "./wgsl.ts";

/** What the backend has done so far. */
export interface WebGpuCounters {
  readonly kernels: number;
  readonly submissions: number;
  readonly pipelines: number;
  readonly stagingBuffers: number;
}

export class WebGpuBackend implements Backend {
  readonly name = "webgpu";
  readonly runtime: GpuRuntime;
  readonly #open: OpenDevice;
  readonly #memory: DeviceMemory;
  readonly #commands: CommandStream;
  readonly #staging: Staging;
  readonly #isReproducible: boolean;
  #isRecording = false;

  constructor(open: OpenDevice, budgetBytes: number, quads = true, reproducible = false) {
    const { device } = open;
    this.#open = open;
    this.#isReproducible = reproducible;
    this.#commands = new CommandStream(device);
    const { maxStorageBufferBindingSize, maxBufferSize } = device.limits;
    this.#memory = new DeviceMemory(
      device,
      { bytesPerBuffer: Math.min(maxStorageBufferBindingSize, maxBufferSize), budgetBytes },
      () => {
        this.#commands.flush();
        this.runtime.pipelines.forgetGroups();
      },
      open.f16,
    );
    const { software, hasQuads } = open.adapter;
    const traits = {
      // A software adapter runs on the processor's cores; a GPU hides its latencies behind tens of thousands of threads.
      usefulThreads: software ? 256 : 65536,
      quads: quads && software && hasQuads,
      runsEveryBranch: software,
    };
    const printer = reproducible ? reproduciblePrinter : plainPrinter;
    this.runtime = new GpuRuntime(device, this.#memory, this.#commands, traits, printer);
    this.#staging = new Staging(device);
  }

  allocate(dtype: DType, length: number, category: MemoryCategory, mayRound = false): Buffer {
    return this.#memory.allocate(dtype, length, category, mayRound);
  }

  release(buffer: Buffer): void {
    this.#memory.release(this.#own(buffer));
  }

  recategorize(buffer: Buffer, category: MemoryCategory): void {
    const own = this.#own(buffer);
    // A map that becomes a weight is to be moved by less than half precision can tell apart.
    if (own.half && category !== "activations") this.#memory.widen(own, (from, to) => this.#copy(from, to));
    this.#memory.recategorize(own, category);
  }

  run<K extends KernelName>({ kernel, inputs, output, attributes }: KernelCall<K>): void {
    this.#open.assertAlive();
    if (this.#isRecording && kernel === "dropoutMask")
      throw new Error(
        "webgpu: a recorded step would drop the same elements in every replay; record a model without dropout, or do not record",
      );
    const views = inputs.map((input) => this.#view(input));
    const ordinary = kernels[kernel];
    if (this.#isReproducible)
      runReproducibly(this.runtime, kernel, ordinary, views, this.#view(output), attributes);
    else ordinary(this.runtime, views, this.#view(output), attributes);
  }

  write(buffer: Buffer, values: ArrayLike<number>): void {
    this.#open.assertAlive();
    const own = this.#own(buffer);
    if (values.length === 0) return;
    this.#memory.beforeWriting(own);
    this.#commands.beforeWriting(own);
    this.#open.device.queue.writeBuffer(own.memory, 0, toWords(own, values));
  }

  async read(buffer: Buffer, start: number, end: number): Promise<TypedArray> {
    this.#open.assertAlive();
    if (this.#isRecording)
      throw new Error(
        "webgpu: a recorded step cannot read values; return the tensors and read them afterwards",
      );
    try {
      return await this.#staging.read(this.#commands, this.#own(buffer), start, end);
    } finally {
      // A refused or lost read fails with this error, which says why; one that came back may hold refused work.
      this.#open.assertSound();
    }
  }

  async synchronize(): Promise<void> {
    this.#open.assertAlive();
    this.#commands.flush();
    await this.#open.device.queue.onSubmittedWorkDone();
    this.#open.assertSound();
  }

  /**
   * Runs `body`, which must not read values, and remembers its kernels. What they read and write stays reserved for
   * them. Throws while another step is being recorded.
   */
  record<Result>(body: () => Result): { readonly result: Result; readonly recording: Recording } {
    this.#open.assertAlive();
    const { result: recorded, reserve } = this.#memory.reserving(() => {
      this.#isRecording = true;
      try {
        return this.#commands.recording(body);
      } finally {
        this.#isRecording = false;
      }
    });
    const { result, dispatches } = recorded;
    let disposed = false;
    const recording: Recording = {
      kernels: dispatches.length,
      replay: () => {
        if (disposed) throw new Error("webgpu: the recorded step was disposed of; record it again");
        this.#open.assertAlive();
        this.#commands.replay(dispatches);
      },
      dispose: () => {
        if (!disposed) this.#memory.dissolve(reserve);
        disposed = true;
      },
    };
    return { result, recording };
  }

  /**
   * Runs `body` and returns how long each kernel took on the device, the longest first. Throws where the adapter has
   * no timestamp queries.
   */
  profile(body: () => Promise<void>): Promise<KernelTime[]> {
    this.#open.assertAlive();
    return profileKernels(this.#open.device, this.#commands, body);
  }

  /** Kernels launched and submissions made so far, pipelines compiled, and buffers for reading. */
  get counters(): WebGpuCounters {
    return {
      kernels: this.#commands.dispatches,
      submissions: this.#commands.submissions,
      pipelines: this.runtime.pipelines.size,
      stagingBuffers: this.#staging.created,
    };
  }

  memoryReport(): MemoryReport {
    return this.#memory.report();
  }

  resetPeakMemory(): void {
    this.#memory.resetPeak();
  }

  info(): BackendInfo {
    const { liveBytes, pooledBytes } = this.memoryReport();
    return {
      name: this.name,
      description: `${this.#open.description}${this.#isReproducible ? ", reproducible" : ""}`,
      threads: 1,
      simd: "none",
      flags: [],
      selfCheck: this.#isReproducible ? "passed" : "none",
      reproducible: this.#isReproducible,
      memory: {
        liveBytes,
        pooledBytes,
        reservedBytes: this.#memory.reservedBytes,
        limitBytes: this.#memory.limits.budgetBytes,
      },
    };
  }

  #copy(from: GpuMemory, to: GpuMemory): void {
    const [source, target] = [from, to].map((buffer) => ({
      buffer,
      shape: [buffer.length],
      strides: [1],
      offset: 0,
    }));
    kernels.copy(this.runtime, [source], target, {});
  }

  #view({ buffer, shape, strides, offset }: View): GpuView {
    return { buffer: this.#own(buffer), shape, strides, offset };
  }

  #own(buffer: Buffer): GpuMemory {
    if (buffer instanceof GpuMemory) return buffer;
    throw new Error(
      "webgpu: the tensor lives on another backend; make it on this one, with the backend option of tensor(), zeros(), …, and call setBackend before the model is made",
    );
  }
}
