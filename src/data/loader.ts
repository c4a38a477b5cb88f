/**
 * Batches of a dataset, shuffled, augmented and normalised. Every random number is a function of (seed, epoch,
 * sample index): how many batches are prepared ahead, and whether an epoch is taken up in its middle, cannot
 * change what a batch holds.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { Generator } from "../tensor/generator.ts";
import type { Augment } from "./augment.ts";
import { type ImageDataset, validateDataset } from "./dataset.ts";

export interface DataLoaderOptions {
  readonly batchSize: number;
  /** A new order in every epoch; the dataset's own order otherwise. Default false. */
  readonly shuffle?: boolean;
  /** Default 0. */
  readonly seed?: number | bigint;
  /** Leaves out a last batch that is not full. Default false. */
  readonly dropLast?: boolean;
  /** Changes every image before normalisation; see augment.ts. */
  readonly augment?: Augment;
  /** One number per channel, for pixels of 0..1: images become (pixel - mean) / std. Default 0. */
  readonly mean?: readonly number[];
  /** One number above 0 per channel. Default 1. */
  readonly std?: readonly number[];
  /** Batches prepared ahead while the consumer waits for something else. Default 1. */
  readonly prefetch?: number;
}

export interface Batch {
  /** [count, channels, height, width], f32. Valid until the next batch is asked for: copy what must last. */
  readonly images: Float32Array;
  /** [count]. Valid as long as `images`. */
  readonly labels: Int32Array;
  readonly count: number;
  readonly shape: readonly [count: number, channels: number, height: number, width: number];
  /** Number of the batch in its epoch, from 0. */
  readonly index: number;
}

/** What training needs of a loader, whatever it reads from. */
export interface BatchLoader {
  readonly dataset: { readonly name: string; readonly count: number };
  readonly batchSize: number;
  /** Batches in an epoch. */
  readonly length: number;
  /** The batches of epoch `index`, from `startBatch` on. */
  epoch(index: number, options?: { readonly startBatch?: number }): AsyncGenerator<Batch, void, undefined>;
}

interface Memory {
  readonly images: Float32Array;
  readonly labels: Int32Array;
}

/** What the batches of one epoch have in common. */
interface Epoch {
  readonly index: number;
  /** Sample indices in the order of this epoch; missing means the dataset's own. */
  readonly order: Int32Array | undefined;
  readonly random: Generator;
}

interface Prepared {
  readonly batch: Batch;
  readonly memory: Memory;
}

export class DataLoader implements BatchLoader {
  readonly dataset: ImageDataset;
  readonly batchSize: number;
  /** Batches in an epoch. */
  readonly length: number;
  private readonly shuffle: boolean;
  private readonly prefetch: number;
  private readonly augment: Augment | undefined;
  private readonly random: Generator;
  private readonly mean: readonly number[];
  private readonly std: readonly number[];

  /** Throws a DataError for an inconsistent dataset and a RangeError for options that cannot be met. */
  constructor(dataset: ImageDataset, options: DataLoaderOptions) {
    validateDataset(dataset);
    const { batchSize, shuffle = false, seed = 0, dropLast = false, augment, prefetch = 1 } = options;
    checkWhole("batchSize", batchSize, 1);
    checkWhole("prefetch", prefetch, 0);
    this.dataset = dataset;
    this.batchSize = batchSize;
    this.shuffle = shuffle;
    this.prefetch = prefetch;
    this.augment = augment;
    this.random = new Generator(seed);
    this.mean = options.mean ?? Array(dataset.channels).fill(0);
    this.std = options.std ?? Array(dataset.channels).fill(1);
    checkPerChannel("mean", this.mean, dataset, Number.NEGATIVE_INFINITY);
    checkPerChannel("std", this.std, dataset, 0);
    this.length = dropLast ? Math.floor(dataset.count / batchSize) : Math.ceil(dataset.count / batchSize);
  }

  /**
   * The batches of epoch `index`, from `startBatch` on. The memory of a batch is reused once the next one is
   * asked for. Breaking off the loop stops the preparation. An error in an augmentation surfaces at the
   * batch it belongs to.
   */
  epoch(
    index: number,
    options: { readonly startBatch?: number } = {},
  ): AsyncGenerator<Batch, void, undefined> {
    const { startBatch = 0 } = options;
    checkWhole("epoch", index, 0);
    checkWhole("startBatch", startBatch, 0);
    if (startBatch > this.length) {
      throw new RangeError(
        `DataLoader: startBatch ${startBatch} is past the ${this.length} batches of an epoch`,
      );
    }
    return this.batches(index, startBatch);
  }

  private async *batches(index: number, startBatch: number): AsyncGenerator<Batch, void, undefined> {
    const random = this.random.fork(index);
    const order = this.shuffle ? random.permutation(this.dataset.count) : undefined;
    const epoch: Epoch = { index, order, random };
    const free: Memory[] = [];
    const ahead: Promise<Prepared>[] = [];
    let upcoming = startBatch;
    let stopped = false;
    let previous: Promise<unknown> = Promise.resolve();
    const prepare = (batch: number): Prepared => {
      const memory = free.pop() ?? this.allocate();
      return { memory, batch: this.fill(memory, batch, epoch) };
    };
    const prepareLater = (batch: number): Promise<Prepared> => {
      const promised = previous.then(nextTurn).then(() => {
        if (stopped) throw new Error("DataLoader: the epoch was broken off");
        return prepare(batch);
      });
      // Whoever takes the batch gets its error; after a break nobody does, and then it must not end the process.
      previous = promised.catch(() => {});
      return promised;
    };
    try {
      while (ahead.length > 0 || upcoming < this.length) {
        const { batch, memory } = await (ahead.shift() ?? prepare(upcoming++));
        while (ahead.length < this.prefetch && upcoming < this.length) ahead.push(prepareLater(upcoming++));
        yield batch;
        free.push(memory);
      }
    } finally {
      stopped = true;
    }
  }

  private allocate(): Memory {
    const { count, channels, height, width } = this.dataset;
    const samples = Math.min(this.batchSize, count);
    return {
      images: new Float32Array(samples * channels * height * width),
      labels: new Int32Array(samples),
    };
  }

  private fill(memory: Memory, index: number, epoch: Epoch): Batch {
    const { dataset, batchSize } = this;
    const { channels, height, width } = dataset;
    const pixels = channels * height * width;
    const first = index * batchSize;
    const count = Math.min(batchSize, dataset.count - first);
    for (let slot = 0; slot < count; slot++) {
      const sample = epoch.order?.[first + slot] ?? first + slot;
      this.writeImage(memory.images.subarray(slot * pixels, (slot + 1) * pixels), sample, epoch);
      memory.labels[slot] = dataset.labels[sample];
    }
    return {
      images: memory.images.subarray(0, count * pixels),
      labels: memory.labels.subarray(0, count),
      count,
      shape: [count, channels, height, width],
      index,
    };
  }

  /** Writes sample `index` as f32: bytes to 0..1, then the augmentation, then the normalisation. */
  private writeImage(image: Float32Array, index: number, epoch: Epoch): void {
    const { images, channels, height, width } = this.dataset;
    const source = index * image.length;
    for (let i = 0; i < image.length; i++) image[i] = images[source + i] / 255;
    if (this.augment) {
      const generator = epoch.random.fork(index);
      this.augment({ image, channels, height, width, generator, index, epoch: epoch.index });
    }
    const plane = height * width;
    for (let channel = 0; channel < channels; channel++) {
      const mean = this.mean[channel];
      const std = this.std[channel];
      if (mean === 0 && std === 1) continue;
      for (let i = channel * plane; i < (channel + 1) * plane; i++) image[i] = (image[i] - mean) / std;
    }
  }
}

function checkWhole(what: string, value: number, least: number): void {
  if (!Number.isSafeInteger(value) || value < least) {
    throw new RangeError(`DataLoader: ${what} must be a whole number, ${least} or more, got ${value}`);
  }
}

function checkPerChannel(
  what: string,
  values: readonly number[],
  { name, channels }: ImageDataset,
  above: number,
): void {
  if (values.length !== channels) {
    throw new RangeError(
      `DataLoader: ${what} [${values.join(", ")}] has ${values.length} numbers, ` +
        `${name} has ${channels} channels; give one number per channel`,
    );
  }
  const wrong = values.find((value) => !(Number.isFinite(value) && value > above));
  if (wrong !== undefined) {
    const bound = above === 0 ? "finite and above 0" : "finite";
    throw new RangeError(`DataLoader: every ${what} must be ${bound}, got ${wrong}`);
  }
}
