/** Reading device memory: through mappable buffers that are used again, since each costs the driver a page mapping. */
import type { DType, TypedArray } from "../dtype.ts";
import type { CommandStream } from "./commands.ts";
import { fromHalf, toHalf } from "./half.ts";
import { classBytes, GPUBufferUsageFlags, type GpuMemory } from "./memory.ts";

/** Mappable buffers that wait for the next read, by size. */
export class Staging {
  readonly #device: GPUDevice;
  readonly #free = new Map<number, GPUBuffer[]>();
  #created = 0;

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** How many buffers there are. */
  get created(): number {
    return this.#created;
  }

  /** Elements `start` to `end`, once all work queued before is done. */
  async read(commands: CommandStream, source: GpuMemory, start: number, end: number): Promise<TypedArray> {
    const { dtype, half, bytesPerElement } = source;
    if (end <= start) return fromWords(dtype, new ArrayBuffer(0));
    // Copies begin and end at whole words, in which two halves lie.
    const from = Math.floor((start * bytesPerElement) / 4) * 4;
    const bytes = Math.ceil((end * bytesPerElement) / 4) * 4 - from;
    const size = classBytes(bytes);
    const staging = this.#free.get(size)?.pop() ?? this.#create(size);
    commands.copy(source, from, staging, bytes);
    commands.flush();
    const mapRead = 0x1;
    await staging.mapAsync(mapRead, 0, bytes);
    const words = staging.getMappedRange(0, bytes).slice(0);
    const values = half
      ? fromHalf(new Uint16Array(words, start * bytesPerElement - from, end - start))
      : fromWords(dtype, words);
    staging.unmap();
    const list = this.#free.get(size);
    if (list) list.push(staging);
    else this.#free.set(size, [staging]);
    return values;
  }

  #create(size: number): GPUBuffer {
    this.#created += 1;
    return this.#device.createBuffer({
      label: "staging",
      size,
      usage: GPUBufferUsageFlags.mapRead | GPUBufferUsageFlags.copyTarget,
    });
  }
}

/** The device's words as the host's typed array. */
function fromWords(dtype: DType, words: ArrayBuffer): TypedArray {
  if (dtype === "f32") return new Float32Array(words);
  const integers = new Int32Array(words);
  return dtype === "i32" ? integers : Uint8Array.from(integers);
}

/** Host values as a buffer holds them, in whole words. */
export function toWords(
  { dtype, half }: Pick<GpuMemory, "dtype" | "half">,
  values: ArrayLike<number>,
): Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Uint16Array<ArrayBuffer> {
  if (half) {
    const words = new Uint16Array(2 * Math.ceil(values.length / 2));
    words.set(toHalf(values));
    return words;
  }
  // The constructors copy typed arrays as a block, and also out of shared memory, which a queue refuses.
  return dtype === "f32" ? new Float32Array(values) : new Int32Array(values);
}
