/** Labelled images in memory: the plain arrays that every reader produces and every loader consumes. */
import { DataError } from "./errors.ts";

/** Images [count, channels, height, width] of bytes 0..255 with one class label each. */
export interface ImageDataset {
  /** What error messages and reports call it. */
  readonly name: string;
  readonly images: Uint8Array;
  /** [count], indices into `classes`. */
  readonly labels: Uint8Array | Int32Array;
  readonly count: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  /** Class names; their number is the number of classes. */
  readonly classes: readonly string[];
}

/** The two halves of a benchmark set. */
export interface ImageDatasetPair {
  readonly train: ImageDataset;
  readonly test: ImageDataset;
}

/** Samples `start` to `end - 1`; a missing bound means the end of the dataset on that side. */
export interface SampleRange {
  readonly start?: number;
  readonly end?: number;
}

/** Throws a DataError at the first thing that does not fit together: sizes, lengths, a label without a class. */
export function validateDataset(dataset: ImageDataset): void {
  const { name, count, channels, height, width, images, labels, classes } = dataset;
  if (!Number.isSafeInteger(count) || count < 0) {
    throw new DataError(`${name}: count must be a whole number, got ${count}`);
  }
  for (const [what, size] of Object.entries({ channels, height, width })) {
    if (!Number.isSafeInteger(size) || size < 1) {
      throw new DataError(`${name}: ${what} must be at least 1, got ${size}`);
    }
  }
  if (classes.length === 0) throw new DataError(`${name}: has no classes; list their names`);
  const shape = [count, channels, height, width];
  const pixels = shape.reduce((product, size) => product * size, 1);
  if (images.length !== pixels) {
    throw new DataError(
      `${name}: images [${shape.join(", ")}] need ${pixels} bytes, there are ${images.length}; correct the sizes`,
    );
  }
  if (labels.length !== count) {
    throw new DataError(`${name}: has ${count} images but ${labels.length} labels; use files of one set`);
  }
  const wrong = labels.findIndex((label) => label < 0 || label >= classes.length);
  if (wrong >= 0) {
    throw new DataError(
      `${name}: label ${labels[wrong]} at index ${wrong} has no class; labels must be 0 to ${classes.length - 1}`,
    );
  }
}

/**
 * Part of a dataset: a range (shares memory with the dataset) or a list of sample indices, in that order and
 * with repetitions if wanted (a copy). Throws a RangeError for samples that do not exist.
 */
export function subset(dataset: ImageDataset, selection: SampleRange | ArrayLike<number>): ImageDataset {
  const { count, channels, height, width } = dataset;
  const pixels = channels * height * width;
  if ("length" in selection) {
    const indices = Array.from(selection);
    const wrong = indices.find((index) => !(Number.isInteger(index) && index >= 0 && index < count));
    if (wrong !== undefined) {
      throw new RangeError(
        `subset: ${dataset.name} has samples 0 to ${count - 1}, there is no sample ${wrong}`,
      );
    }
    const images = new Uint8Array(indices.length * pixels);
    for (const [to, from] of indices.entries()) {
      images.set(dataset.images.subarray(from * pixels, (from + 1) * pixels), to * pixels);
    }
    const chosen = indices.map((index) => dataset.labels[index]);
    const labels = dataset.labels instanceof Uint8Array ? Uint8Array.from(chosen) : Int32Array.from(chosen);
    return { ...dataset, images, labels, count: indices.length };
  }
  const { start = 0, end = count } = selection;
  if (!Number.isInteger(start) || !Number.isInteger(end) || start < 0 || start > end || end > count) {
    throw new RangeError(
      `subset: needs 0 <= start <= end <= ${count} (samples in ${dataset.name}), got ${start} and ${end}`,
    );
  }
  return {
    ...dataset,
    images: dataset.images.subarray(start * pixels, end * pixels),
    labels: dataset.labels.subarray(start, end),
    count: end - start,
  };
}
