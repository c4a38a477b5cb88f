/**
 * A folder of photographs, one folder for each class, and batches of any set of photographs: they are read, decoded and
 * cut while the network trains, so the set may be larger than memory.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { Generator } from "../tensor/generator.ts";
import { centreCrop, type FloatImage, resizeShorterSide } from "./crops.ts";
import { type DarknetAugmentation, darknetView } from "./darknetAugment.ts";
import { DataError } from "./errors.ts";
import { listFolder } from "./files.ts";
import { type Photograph, readPhotograph } from "./imageFile.ts";
import type { Batch, BatchLoader } from "./loader.ts";
import { networkInput } from "./networkInput.ts";

const endings = /\.(avif|gif|jpe?g|png|tiff?|webp)$/i;

/** Labelled photographs that are read one by one. */
export interface PhotographSource {
  /** What error messages and reports call it. */
  readonly name: string;
  /** Class names; their number is the number of classes. */
  readonly classes: readonly string[];
  /** Photographs. */
  readonly count: number;
  /** [count], indices into `classes`. */
  readonly labels: ArrayLike<number>;
  /** Photograph `index`. Throws a DataError that names its file. */
  read(index: number): Promise<Photograph>;
}

/** Labelled photographs on disk; the classes are sorted. */
export interface PhotographSet extends PhotographSource {
  readonly files: readonly { readonly path: string; readonly label: number }[];
}

/** Lists `folder/CLASS/*.jpg` and the like. Throws a DataError where there is no class or no image. */
export async function openImageFolder(folder: string): Promise<PhotographSet> {
  await listFolder(folder);
  const entries = await readdir(folder, { withFileTypes: true });
  const classes = entries
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort();
  if (classes.length === 0)
    throw new DataError(
      `${folder}: has no folders; put the images of each class into a folder named after it`,
    );
  const files: { path: string; label: number }[] = [];
  for (const [label, name] of classes.entries())
    for (const file of await listFolder(join(folder, name)))
      if (endings.test(file)) files.push({ path: join(folder, name, file), label });
  if (files.length === 0)
    throw new DataError(`${folder}: its folders ${classes.slice(0, 3).join(", ")} … hold no image files`);
  const labels = files.map(({ label }) => label);
  const read = (index: number) => readPhotograph(files[index].path);
  return { name: folder, files, classes, count: files.length, labels, read };
}

export interface PhotographLoaderOptions {
  readonly batchSize: number;
  /** Side of the square images. */
  readonly side: number;
  /** Length of the shorter side before the centre is cut out. Default: the side. */
  readonly resize?: number;
  /** Random views in place of the centre. */
  readonly augmentation?: DarknetAugmentation;
  /** Channels of the images: 3 colours, else their mean as often as needed. Default 3. */
  readonly channels?: number;
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
  /** A new order in every epoch. Default false. */
  readonly shuffle?: boolean;
  /** Default 0. */
  readonly seed?: number;
  /** Leaves out a last batch that is not full. Default false. */
  readonly dropLast?: boolean;
}

/** Batches of a set of photographs. */
export class PhotographLoader implements BatchLoader {
  readonly dataset: PhotographSource;
  readonly batchSize: number;
  /** Batches in an epoch. */
  readonly length: number;
  readonly #options: PhotographLoaderOptions;
  readonly #random: Generator;

  /** Throws a RangeError for options that cannot be met. */
  constructor(dataset: PhotographSource, options: PhotographLoaderOptions) {
    const { batchSize, side, resize = side, channels = 3, seed = 0, dropLast = false } = options;
    for (const [name, value] of Object.entries({ batchSize, side, channels }))
      if (!Number.isInteger(value) || value < 1)
        throw new RangeError(`PhotographLoader: ${name} ${value} must be a positive integer`);
    if (resize < side)
      throw new RangeError(`PhotographLoader: resize ${resize} must be at least the side ${side}`);
    this.dataset = dataset;
    this.batchSize = batchSize;
    this.length = dropLast ? Math.floor(dataset.count / batchSize) : Math.ceil(dataset.count / batchSize);
    this.#options = options;
    this.#random = new Generator(seed);
  }

  /**
   * The batches of epoch `index`, from `startBatch` on; the next one is prepared while a batch is in use. Throws DataErrors
   * by file.
   */
  async *epoch(
    index: number,
    { startBatch = 0 }: { readonly startBatch?: number } = {},
  ): AsyncGenerator<Batch, void, undefined> {
    if (!Number.isInteger(startBatch) || startBatch < 0 || startBatch > this.length)
      throw new RangeError(
        `PhotographLoader: startBatch ${startBatch} must be from 0 to the ${this.length} batches of an epoch`,
      );
    const random = this.#random.fork(index);
    const order = this.#options.shuffle ? random.permutation(this.dataset.count) : null;
    let upcoming: Promise<Batch> | null = null;
    for (let batch = startBatch; batch < this.length; batch++) {
      const current: Promise<Batch> = upcoming ?? this.#prepare(batch, order, random);
      const ready = await current;
      upcoming = batch + 1 < this.length ? this.#prepare(batch + 1, order, random) : null;
      // Whoever takes it gets its error; after a break nobody does.
      upcoming?.catch(() => {});
      yield ready;
    }
  }

  async #prepare(index: number, order: Int32Array | null, random: Generator): Promise<Batch> {
    const { side, channels = 3 } = this.#options;
    const first = index * this.batchSize;
    const count = Math.min(this.batchSize, this.dataset.count - first);
    const images = new Float32Array(count * channels * side * side);
    const labels = new Int32Array(count);
    await Promise.all(
      Array.from({ length: count }, async (_, slot) => {
        const sample = order?.[first + slot] ?? first + slot;
        const view = this.#view(await this.dataset.read(sample), random.fork(sample));
        const values = networkInput(view, this.#options);
        images.set(values, slot * values.length);
        labels[slot] = this.dataset.labels[sample];
      }),
    );
    return { images, labels, count, shape: [count, channels, side, side], index };
  }

  #view(photograph: Photograph, random: Generator): FloatImage {
    const { augmentation, side, resize = side } = this.#options;
    if (augmentation) return darknetView(photograph, side, augmentation, random);
    return centreCrop(resizeShorterSide(photograph, resize), side);
  }
}
