/** Live and peak bytes by class, the numbers behind `memoryReport()`. */

/** What memory is used for. `data` is whatever belongs to no other class: batches, constants, user tensors. */
export type MemoryCategory = "weights" | "gradients" | "activations" | "optimizer" | "workspace" | "data";

export interface MemoryReport {
  /** Bytes in use now, all classes together. */
  readonly liveBytes: number;
  /** The most bytes in use at one moment since the start or the last reset. */
  readonly peakBytes: number;
  readonly liveBuffers: number;
  /** Bytes kept aside for reuse; not in use. */
  readonly pooledBytes: number;
  readonly byCategory: Readonly<Record<MemoryCategory, { readonly live: number; readonly peak: number }>>;
}

/** Counts bytes; knows nothing of where they lie. */
export class MemoryAccount {
  private live = 0;
  private peak = 0;
  private buffers = 0;
  private readonly byCategory: Readonly<Record<MemoryCategory, { live: number; peak: number }>> = {
    weights: { live: 0, peak: 0 },
    gradients: { live: 0, peak: 0 },
    activations: { live: 0, peak: 0 },
    optimizer: { live: 0, peak: 0 },
    workspace: { live: 0, peak: 0 },
    data: { live: 0, peak: 0 },
  };

  add(category: MemoryCategory, bytes: number): void {
    this.live += bytes;
    this.buffers += 1;
    this.peak = Math.max(this.peak, this.live);
    const entry = this.byCategory[category];
    entry.live += bytes;
    entry.peak = Math.max(entry.peak, entry.live);
  }

  remove(category: MemoryCategory, bytes: number): void {
    this.live -= bytes;
    this.buffers -= 1;
    this.byCategory[category].live -= bytes;
  }

  /** Starts a new peak measurement from what is live now. */
  resetPeak(): void {
    this.peak = this.live;
    for (const entry of Object.values(this.byCategory)) entry.peak = entry.live;
  }

  report(pooledBytes: number): MemoryReport {
    const of = (category: MemoryCategory) => ({ ...this.byCategory[category] });
    return {
      liveBytes: this.live,
      peakBytes: this.peak,
      liveBuffers: this.buffers,
      pooledBytes,
      byCategory: {
        weights: of("weights"),
        gradients: of("gradients"),
        activations: of("activations"),
        optimizer: of("optimizer"),
        workspace: of("workspace"),
        data: of("data"),
      },
    };
  }
}
