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
export { centreCrop, cut, type FloatImage, resize, resizeShorterSide, tenCrop } from "./crops.ts";
export { type DarknetAugmentation, darknetView, paperAugmentation } from "./darknetAugment.ts";
export {
  type ImageDataset,
  type ImageDatasetPair,
  type SampleRange,
  subset,
  validateDataset,
} from "./dataset.ts";
export { DataError } from "./errors.ts";
export { type IdxArray, parseIdx, readIdxFile } from "./idx.ts";
export { decodePhotograph, type Photograph, readPhotograph } from "./imageFile.ts";
export {
  openImageFolder,
  PhotographLoader,
  type PhotographLoaderOptions,
  type PhotographSet,
  type PhotographSource,
} from "./imageFolder.ts";
export { type Batch, type BatchLoader, DataLoader, type DataLoaderOptions } from "./loader.ts";
export { fashionMnistClasses, loadMnist, type MnistOptions } from "./mnist.ts";
export { type NetworkInputOptions, networkInput, normalise } from "./networkInput.ts";
export {
  greyPhotographs,
  type OpenImagesOptions,
  openImages,
  samplePhotographs,
  splitPhotographs,
  subsetPhotographs,
  type TrainingImages,
} from "./openImages.ts";
