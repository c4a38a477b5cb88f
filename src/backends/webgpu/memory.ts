/**
 * Memory on the device. Creating a buffer costs the driver as much as a small kernel, and a training step makes
 * hundreds of the same sizes, so released buffers are kept by size class and given out again. Work is executed in the
 * order in which it is queued, so a buffer may have a new owner while commands of the old one still wait.
 */
import type { Buffer } from "../backend.ts";
import type { DType } from "../dtype.ts";
import { MemoryAccount, type MemoryCategory, type MemoryReport } from "../memory.ts";

/**
 * A tensor's memory. Every element takes one 32-bit word, also of u8 and bool: shaders write no single bytes. Only f32
 * may be stored in half precision.
 */
export class GpuMemory implements Buffer {
  readonly dtype: DType;
  readonly length: number;
  memory: GPUBuffer;
  /** Of the buffer in `memory`: bind groups are remembered by it. */
  id: number;
  category: MemoryCategory;
  /** Whether elements are stored in half precision, two bytes each. */
  half: boolean;

  constructor(
    dtype: DType,
    length: number,
    memory: GPUBuffer,
    id: number,
    category: MemoryCategory,
    half: boolean,
  ) {
    this.dtype = dtype;
    this.length = length;
    this.memory = memory;
    this.id = id;
    this.category = category;
    this.half = half;
  }

  /** Bytes of the tensor; the buffer behind it may be larger. */
  get bytes(): number {
    return this.length * this.bytesPerElement;
  }

  get bytesPerElement(): number {
    return bytesOfElement(this.half);
  }
}

const bytesOfElement = (half: boolean): number => (half ? 2 : 4);

/** Smallest buffer: everything below shares one size class. */
const smallestClass = 256;

/** Bytes of the size class that holds `bytes`: four classes between two powers of two, so at most a quarter is idle. */
export function classBytes(bytes: number): number {
  if (bytes <= smallestClass) return smallestClass;
  const power = 2 ** Math.floor(Math.log2(bytes));
  const step = power / 4;
  return power + Math.ceil((bytes - power) / step) * step;
}

interface Slot {
  readonly memory: GPUBuffer;
  readonly id: number;
}

/** Where a recorded step keeps what it releases, so that nobody else writes there between two replays. */
export interface Reserve {
  readonly free: Map<number, Slot[]>;
  /** Buffers that the host wrote: a replay needs what is in them, so they are not given out again. */
  readonly written: Set<number>;
  readonly idle: Slot[];
}

export interface MemoryLimits {
  /** The largest buffer that a kernel can see as a whole. */
  readonly bytesPerBuffer: number;
  /** All buffers together; a driver may hand out more than it has and fail later. */
  readonly budgetBytes: number;
}

/** Gives out device memory and keeps account of it. */
export class DeviceMemory {
  readonly limits: MemoryLimits;
  readonly #device: GPUDevice;
  readonly #account = new MemoryAccount();
  readonly #free = new Map<number, Slot[]>();
  readonly #beforeDestroying: () => void;
  readonly #storesHalf: boolean;
  /** By buffer, the recorded step that it belongs to, if any. */
  readonly #reserveOf = new Map<number, Reserve>();
  #reserve: Reserve | null = null;
  #reserved = 0;
  #pooled = 0;
  #nextId = 1;

  /**
   * `beforeDestroying` is called before idle buffers are returned to the device: commands may still name them.
   * `storesHalf` says whether what may be rounded is stored in half precision.
   */
  constructor(device: GPUDevice, limits: MemoryLimits, beforeDestroying: () => void, storesHalf = false) {
    this.#device = device;
    this.#storesHalf = storesHalf;
    this.#beforeDestroying = beforeDestroying;
    this.limits = limits;
  }

  /** Uninitialised memory. Throws for f64, for a buffer beyond the binding limit, and beyond the budget. */
  allocate(dtype: DType, length: number, category: MemoryCategory, mayRound = false): GpuMemory {
    if (dtype === "f64")
      throw new Error("webgpu: shaders have no f64; make the tensor f32, or keep it on the CPU backend");
    const half = mayRound && this.#storesHalf && dtype === "f32";
    const bytes = classBytes(length * bytesOfElement(half));
    const { memory, id } = this.#take(bytes) ?? this.#create(bytes, length, dtype);
    if (this.#reserve) this.#reserveOf.set(id, this.#reserve);
    this.#account.add(category, length * bytesOfElement(half));
    return new GpuMemory(dtype, length, memory, id, category, half);
  }

  release(buffer: GpuMemory): void {
    this.#account.remove(buffer.category, buffer.bytes);
    const { memory, id } = buffer;
    const reserve = this.#reserveOf.get(id);
    this.#pooled += memory.size;
    if (reserve?.written.has(id)) reserve.idle.push({ memory, id });
    else putBack(reserve?.free ?? this.#free, { memory, id });
  }

  /**
   * Called before the host writes a whole buffer. While a step is recorded it moves to memory that none of the step's
   * kernels has used: a replay runs those again, but not what the host wrote between them.
   */
  beforeWriting(buffer: GpuMemory): void {
    const reserve = this.#reserve;
    if (!reserve || this.#reserveOf.get(buffer.id) !== reserve) return;
    const bytes = buffer.memory.size;
    const own = { memory: buffer.memory, id: buffer.id };
    const fresh = this.#free.get(bytes)?.pop();
    if (fresh) this.#pooled -= bytes;
    const { memory, id } = fresh ?? this.#create(bytes, buffer.length, buffer.dtype);
    putBack(reserve.free, own);
    this.#pooled += bytes;
    this.#reserveOf.set(id, reserve);
    reserve.written.add(id);
    buffer.memory = memory;
    buffer.id = id;
  }

  recategorize(buffer: GpuMemory, category: MemoryCategory): void {
    this.#account.remove(buffer.category, buffer.bytes);
    this.#account.add(category, buffer.bytes);
    buffer.category = category;
  }

  /** Moves a buffer from half precision to whole words; `copy` enqueues the kernel that fills them. */
  widen(buffer: GpuMemory, copy: (from: GpuMemory, to: GpuMemory) => void): void {
    const { dtype, length, memory, id, category } = buffer;
    const narrow = new GpuMemory(dtype, length, memory, id, category, true);
    const wide = this.allocate(dtype, length, category);
    copy(narrow, wide);
    this.release(narrow);
    buffer.memory = wide.memory;
    buffer.id = wide.id;
    buffer.half = false;
  }

  /** Runs `body`; what it allocates stays with the reserve that is returned, also once it is released. */
  reserving<Result>(body: () => Result): { result: Result; reserve: Reserve } {
    if (this.#reserve)
      throw new Error("webgpu: a step is being recorded already; record one after the other");
    const reserve: Reserve = { free: new Map(), written: new Set(), idle: [] };
    this.#reserve = reserve;
    try {
      return { result: body(), reserve };
    } catch (error) {
      this.dissolve(reserve);
      throw error;
    } finally {
      this.#reserve = null;
    }
  }

  /** Gives the memory of a recorded step back. */
  dissolve(reserve: Reserve): void {
    const { free, idle } = reserve;
    for (const [id, owner] of this.#reserveOf) if (owner === reserve) this.#reserveOf.delete(id);
    for (const slot of [...free.values(), idle].flat()) putBack(this.#free, slot);
    free.clear();
    idle.length = 0;
  }

  report(): MemoryReport {
    return this.#account.report(this.#pooled);
  }

  resetPeak(): void {
    this.#account.resetPeak();
  }

  /** Bytes taken from the device. */
  get reservedBytes(): number {
    return this.#reserved;
  }

  #take(bytes: number): Slot | undefined {
    const slot = this.#reserve?.free.get(bytes)?.pop() ?? this.#free.get(bytes)?.pop();
    if (slot) this.#pooled -= bytes;
    return slot;
  }

  #create(bytes: number, length: number, dtype: DType): Slot {
    const { bytesPerBuffer, budgetBytes } = this.limits;
    const mebibytes = (count: number) => `${(count / 2 ** 20).toFixed(0)} MiB`;
    if (bytes > bytesPerBuffer)
      throw new Error(
        `webgpu: ${length} elements of ${dtype} take ${mebibytes(bytes)}, this adapter binds at most ` +
          `${mebibytes(bytesPerBuffer)} to a kernel; use a smaller batch or a smaller input`,
      );
    if (this.#reserved + bytes > budgetBytes) this.#dropPool();
    if (this.#reserved + bytes > budgetBytes) {
      const { liveBytes, byCategory } = this.#account.report(0);
      const classes = Object.entries(byCategory)
        .filter(([, { live }]) => live >= 2 ** 20)
        .sort(([, a], [, b]) => b.live - a.live)
        .map(([name, { live }]) => `${name} ${mebibytes(live)}`);
      throw new Error(
        `webgpu: cannot allocate ${length} elements of ${dtype} (${[`${mebibytes(liveBytes)} are in use`, ...classes].join(", ")}; ` +
          `the budget is ${mebibytes(budgetBytes)}); use a smaller batch, checkpoint() parts of the model, run steps in scope(), ` +
          "or raise the memoryBudget option",
      );
    }
    const memory = this.#device.createBuffer({
      label: `${dtype} x ${length}`,
      size: bytes,
      usage: GPUBufferUsageFlags.storage | GPUBufferUsageFlags.copySource | GPUBufferUsageFlags.copyTarget,
    });
    this.#reserved += bytes;
    return { memory, id: this.#nextId++ };
  }

  /** Returns idle buffers to the device. */
  #dropPool(): void {
    this.#beforeDestroying();
    for (const [bytes, slots] of this.#free) {
      for (const { memory } of slots) memory.destroy();
      this.#reserved -= bytes * slots.length;
      this.#pooled -= bytes * slots.length;
    }
    this.#free.clear();
  }
}

/**
 * The buffer made first is taken first, whatever order they come back in: every step of a training run then gets the
 * same buffers, and finds its bind groups again (taken last in, first out, half of them were made anew in every step).
 */
function putBack(free: Map<number, Slot[]>, slot: Slot): void {
  const list = free.get(slot.memory.size);
  if (!list) {
    free.set(slot.memory.size, [slot]);
    return;
  }
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle].id > slot.id) low = middle + 1;
    else high = middle;
  }
  list.splice(low, 0, slot);
}

/** The bits of GPUBufferUsage, whose global object exists in browsers only. */
export const GPUBufferUsageFlags = {
  mapRead: 0x1,
  copySource: 0x4,
  copyTarget: 0x8,
  uniform: 0x40,
  storage: 0x80,
  queryResolve: 0x200,
} as const;
