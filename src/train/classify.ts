/**
 * What a network takes a photograph for: from the crop in the middle, or from ten crops whose probabilities are averaged
 * (Krizhevsky et al. 2012), and how often that is right over a set of photographs.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { mean, noGrad, reshape, softmax } from "../autograd/index.ts";
import {
  centreCrop,
  type NetworkInputOptions,
  networkInput,
  type Photograph,
  type PhotographSource,
  resizeShorterSide,
  tenCrop,
} from "../data/index.ts";
import type { Module } from "../nn/index.ts";
import { scope, tensor } from "../tensor/index.ts";
import type { EvaluateOptions, Evaluation } from "./evaluate.ts";

export interface CropOptions extends NetworkInputOptions {
  /** Side of the square images that the network reads. */
  readonly side: number;
  /** Length of the shorter side before the crops are cut out. Default: the side; for ten crops 8/7 of it. */
  readonly resize?: number;
  /** Default 1, the middle. */
  readonly crops?: 1 | 10;
}

/** Crops of a photograph as a network reads them: `crops` times [channels, side, side], one after the other. */
function cropsOf(photograph: Photograph, options: CropOptions): Float32Array {
  const { side, crops = 1 } = options;
  const { resize = crops === 1 ? side : Math.round((side * 8) / 7) } = options;
  if (resize < side) throw new RangeError(`cropsOf: resize ${resize} must be at least the side ${side}`);
  const image = resizeShorterSide(photograph, resize);
  const cut = crops === 1 ? [centreCrop(image, side)] : tenCrop(image, side);
  const inputs = cut.map((crop) => networkInput(crop, options));
  const values = new Float32Array(inputs.length * inputs[0].length);
  for (const [i, input] of inputs.entries()) values.set(input, i * input.length);
  return values;
}

/**
 * Class probabilities of photographs, `[N, classes]` row by row: softmax for each crop, then their mean. The model must
 * be in evaluation mode; a folded one (`nn.foldForInference`) is faster.
 */
export async function classifyPhotographs(
  model: Module,
  photographs: readonly Photograph[],
  options: CropOptions,
): Promise<Float32Array[]> {
  if (model.training)
    throw new Error("classifyPhotographs: the model is in training mode; call eval() on it first");
  if (photographs.length === 0) return [];
  const { side, channels = 3, crops = 1 } = options;
  const inputs = photographs.map((photograph) => cropsOf(photograph, options));
  const images = new Float32Array(inputs.length * inputs[0].length);
  for (const [i, input] of inputs.entries()) images.set(input, i * input.length);
  const probabilities = scope(() =>
    noGrad(() => {
      const logits = model.forward(tensor(images, { shape: [inputs.length * crops, channels, side, side] }));
      const classes = logits.shape[1];
      return mean(reshape(softmax(logits, 1), [inputs.length, crops, classes]), 1);
    }),
  );
  const [, classes] = probabilities.shape;
  const values = Float32Array.from(await probabilities.data(), Number);
  probabilities.dispose();
  return inputs.map((_, i) => values.slice(i * classes, (i + 1) * classes));
}

/** The classes of the largest probabilities, the largest first; equal ones in their order. */
export function topClasses(
  probabilities: ArrayLike<number>,
  count: number,
): { readonly index: number; readonly probability: number }[] {
  return Array.from(probabilities, (probability, index) => ({ index, probability }))
    .sort((a, b) => b.probability - a.probability)
    .slice(0, count);
}

/** What `evaluateCrops` counts. */
export interface CropEvaluation extends Evaluation {
  /** Share of images whose class is among the five most probable, 0 to 1; NaN when no image was evaluated. */
  readonly topFive: number;
}

/**
 * Evaluates `model`, which must be in evaluation mode, on the crops of photographs, `batchSize` photographs at a time
 * (default 8). `loss` is the mean of -log of the probability that the right class got. With one crop the result is
 * `evaluate`'s on a PhotographLoader without augmentation. Throws a DataError for a photograph that cannot be read.
 */
export async function evaluateCrops(
  model: Module,
  source: PhotographSource,
  options: CropOptions & EvaluateOptions & { readonly batchSize?: number },
): Promise<CropEvaluation> {
  const { batchSize = 8, signal, onProgress } = options;
  let [images, correct, topFive, loss] = [0, 0, 0, 0];
  for (let first = 0; first < source.count; first += batchSize) {
    await nextTurn();
    if (signal?.aborted) break;
    const indices = Array.from({ length: Math.min(batchSize, source.count - first) }, (_, i) => first + i);
    const photographs = await Promise.all(indices.map((index) => source.read(index)));
    for (const [i, probabilities] of (await classifyPhotographs(model, photographs, options)).entries()) {
      const label = source.labels[first + i];
      const best = topClasses(probabilities, 5).map(({ index }) => index);
      if (best[0] === label) correct += 1;
      if (best.includes(label)) topFive += 1;
      loss -= Math.log(probabilities[label]);
    }
    images += indices.length;
    onProgress?.(images);
  }
  return { images, correct, accuracy: correct / images, topFive: topFive / images, loss: loss / images };
}
