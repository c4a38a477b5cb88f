/**
 * Data: reading labelled images, and turning them into shuffled, augmented, normalised batches of plain typed
 * arrays. Knows nothing of gradients or modules; imports from `tensor` only (the random numbers).
 */
export {
  type Augment,
  type AugmentSample,
  compose,
  randomCrop,
  randomHorizontalFlip,
  randomShift,
} from "./augment.ts";
export {
  type ImageDataset,
  type ImageDatasetPair,
  type SampleRange,
  subset,
  validateDataset,
} from "./dataset.ts";
export { DataError } from "./errors.ts";
export { type IdxArray, parseIdx, readIdxFile } from "./idx.ts";
export { type Batch, DataLoader, type DataLoaderOptions } from "./loader.ts";
export { fashionMnistClasses, loadMnist, type MnistOptions } from "./mnist.ts";
