/** How long each kernel takes on the device, by time stamps around every one of them. */
import type { KernelTime } from "../backend.ts";
import type { CommandStream } from "./commands.ts";
import { GPUBufferUsageFlags } from "./memory.ts";

/** Kernels per query set: WebGPU allows 4096 queries, two to a kernel. */
const kernelsPerSet = 2048;

/** Collects time stamps while it is in use. */
class TimeStamps {
  readonly labels: string[] = [];
  readonly sets: GPUQuerySet[] = [];
  readonly #device: GPUDevice;

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  writes(label: string): GPUComputePassTimestampWrites {
    const at = this.labels.length % kernelsPerSet;
    if (at === 0)
      this.sets.push(this.#device.createQuerySet({ type: "timestamp", count: 2 * kernelsPerSet }));
    this.labels.push(label);
    return {
      querySet: this.sets[this.sets.length - 1],
      beginningOfPassWriteIndex: 2 * at,
      endOfPassWriteIndex: 2 * at + 1,
    };
  }

  /** Milliseconds of every kernel, in the order of `labels`. */
  async read(commands: CommandStream): Promise<number[]> {
    const all: number[] = [];
    for (const [i, set] of this.sets.entries()) {
      const kernels = Math.min(kernelsPerSet, this.labels.length - i * kernelsPerSet);
      const size = kernels * 16;
      const { copySource, copyTarget, mapRead, queryResolve } = GPUBufferUsageFlags;
      const resolved = this.#device.createBuffer({ size, usage: queryResolve | copySource });
      const readable = this.#device.createBuffer({ size, usage: mapRead | copyTarget });
      commands.resolve(set, 2 * kernels, resolved);
      commands.copy({ memory: resolved, id: 0 }, 0, readable, size);
      commands.flush();
      await readable.mapAsync(mapRead);
      const stamps = new BigUint64Array(readable.getMappedRange());
      for (let k = 0; k < kernels; k++) all.push(Number(stamps[2 * k + 1] - stamps[2 * k]) / 1e6);
      for (const buffer of [resolved, readable]) buffer.destroy();
      set.destroy();
    }
    return all;
  }
}

/** Runs `body` and returns the times of its kernels by label, the longest first. A kernel then runs by itself. */
export async function profileKernels(
  device: GPUDevice,
  commands: CommandStream,
  body: () => Promise<void>,
): Promise<KernelTime[]> {
  if (!device.features.has("timestamp-query"))
    throw new Error("webgpu: this adapter has no timestamp-query; profile on another one");
  const stamps = new TimeStamps(device);
  commands.time((label) => stamps.writes(label));
  try {
    await body();
  } finally {
    commands.time(null);
  }
  const milliseconds = await stamps.read(commands);
  const byLabel = new Map<string, { launches: number; milliseconds: number }>();
  stamps.labels.forEach((label, i) => {
    const entry = byLabel.get(label) ?? { launches: 0, milliseconds: 0 };
    byLabel.set(label, { launches: entry.launches + 1, milliseconds: entry.milliseconds + milliseconds[i] });
  });
  return [...byLabel]
    .map(([label, time]) => ({ label, ...time }))
    .sort((a, b) => b.milliseconds - a.milliseconds);
}
