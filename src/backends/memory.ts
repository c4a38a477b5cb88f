/** Live and peak bytes by class, the numbers behind `memoryReport()`. */

/** What memory is used for. `data` is whatever belongs to no other class: batches, constants, user tensors. */
export type MemoryCategory = "weights" | "gradients" | "activations" | "optimizer" | "workspace" | "data";

const memoryCategories: readonly MemoryCategory[] = [
  "weights",
  "gradients",
  "activations",
  "optimizer",
  "workspace",
  "data",
];

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
  private readonly byCategory = new Map<MemoryCategory, { live: number; peak: number }>(
    memoryCategories.map((category) => [category, { live: 0, peak: 0 }]),
  );

  add(category: MemoryCategory, bytes: number): void {
    this.live += bytes;
    this.buffers += 1;
    this.peak = Math.max(this.peak, this.live);
    const entry = this.entry(category);
    entry.live += bytes;
    entry.peak = Math.max(entry.peak, entry.live);
  }

  remove(category: MemoryCategory, bytes: number): void {
    this.live -= bytes;
    this.buffers -= 1;
    this.entry(category).live -= bytes;
  }

  /** Starts a new peak measurement from what is live now. */
  resetPeak(): void {
    this.peak = this.live;
    for (const entry of this.byCategory.values()) entry.peak = entry.live;
  }

  report(pooledBytes: number): MemoryReport {
    const of = (category: MemoryCategory) => ({ ...this.entry(category) });
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

  private entry(category: MemoryCategory): { live: number; peak: number } {
    const entry = this.byCategory.get(category);
    if (!entry) throw new Error(`memory: unknown category ${category}`);
    return entry;
  }
}
