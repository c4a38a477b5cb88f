/**
 * The numbers of kernels (extents, strides, slopes) in uniform memory. The steps of a training run use the same few
 * hundred sets of numbers again and again, so a set is written once and found again by its content; a slot is never
 * rewritten while commands that read it wait.
 */
import { GPUBufferUsageFlags } from "./memory.ts";

/** A number as the shader sees it: i32, or f32 where it was wrapped by `float`. */
export type Numeral = number | Float;

/** A number that the shader reads as f32. */
export interface Float {
  readonly float: number;
}

/** Marks a number that the shader reads as f32. */
export const float = (value: number): Float => ({ float: value });

/** Where a set of numbers lies. */
export interface ParameterSlot {
  readonly chunk: GPUBuffer;
  /** Of the chunk: bind groups are remembered by it. */
  readonly chunkId: number;
  readonly offset: number;
}

/** Bytes that one kernel can have at most: 64 numbers. */
export const parameterBytes = 256;

const slotsPerChunk = 2048;

/** Sets of numbers in uniform buffers, found again by content. */
export class ParameterMemory {
  readonly #device: GPUDevice;
  readonly #stride: number;
  readonly #words = new DataView(new ArrayBuffer(parameterBytes));
  readonly #slots = new Map<string, ParameterSlot>();
  #chunk: GPUBuffer;
  #chunkId = 0;
  #used = 0;

  constructor(device: GPUDevice) {
    this.#device = device;
    this.#stride = Math.max(parameterBytes, device.limits.minUniformBufferOffsetAlignment);
    this.#chunk = this.#createChunk();
  }

  /** The slot that holds `numbers`, in order, and then `last`. Throws for more than 64 of them. */
  slotOf(numbers: Readonly<Record<string, Numeral>>, last: number): ParameterSlot {
    let key = `${last}`;
    for (const name in numbers) {
      const number = numbers[name];
      key += typeof number === "number" ? `,${number}` : `,f${number.float}`;
    }
    const known = this.#slots.get(key);
    if (known) return known;
    const values = [...Object.values(numbers), last];
    if (values.length * 4 > parameterBytes)
      throw new Error(`webgpu: a kernel has ${values.length} numbers, at most ${parameterBytes / 4} fit`);
    if (this.#used === slotsPerChunk) {
      // The full chunk lives on as long as commands or recorded steps refer to it.
      this.#slots.clear();
      this.#chunk = this.#createChunk();
      this.#used = 0;
    }
    values.forEach((number, i) => {
      if (typeof number === "number") this.#words.setInt32(i * 4, number, true);
      else this.#words.setFloat32(i * 4, number.float, true);
    });
    const slot = { chunk: this.#chunk, chunkId: this.#chunkId, offset: this.#used * this.#stride };
    this.#device.queue.writeBuffer(slot.chunk, slot.offset, this.#words.buffer);
    this.#used += 1;
    this.#slots.set(key, slot);
    return slot;
  }

  #createChunk(): GPUBuffer {
    this.#chunkId += 1;
    return this.#device.createBuffer({
      label: "parameters",
      size: slotsPerChunk * this.#stride,
      usage: GPUBufferUsageFlags.uniform | GPUBufferUsageFlags.copyTarget,
    });
  }
}
