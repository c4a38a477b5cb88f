/** How well a network classifies images that it was not trained on. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { crossEntropy, noGrad } from "../autograd/index.ts";
import type { BatchLoader } from "../data/index.ts";
import type { Module } from "../nn/index.ts";
import { scope, tensor } from "../tensor/index.ts";
import { countCorrect, takeNumber } from "./trainingRun.ts";

export interface EvaluateOptions {
  /** Stops after the current batch. */
  readonly signal?: AbortSignal | undefined;
  /** Called after every batch with the number of images done. */
  readonly onProgress?: (images: number) => void;
}

export interface Evaluation {
  /** Images evaluated: all of the loader's, unless it was stopped. */
  readonly images: number;
  readonly correct: number;
  /** Share classified correctly, 0 to 1; NaN when no image was evaluated. */
  readonly accuracy: number;
  /** Mean cross entropy; NaN when no image was evaluated. */
  readonly loss: number;
}

/**
 * Evaluates `model` on the images of `loader`, in evaluation mode, and puts it back into the mode it was in. Large
 * batches (250, say) are faster; the result does not depend on their size.
 */
export async function evaluate(
  model: Module,
  loader: BatchLoader,
  { signal, onProgress }: EvaluateOptions = {},
): Promise<Evaluation> {
  const { training } = model;
  model.eval();
  let [images, correct, loss] = [0, 0, 0];
  try {
    for await (const batch of loader.epoch(0)) {
      await nextTurn();
      if (signal?.aborted) break;
      const measured = scope(() =>
        noGrad(() => {
          const labels = tensor(batch.labels, { dtype: "i32" });
          const logits = model.forward(tensor(batch.images, { shape: batch.shape }));
          return {
            loss: crossEntropy(logits, labels, { reduction: "sum" }),
            correct: countCorrect(logits, labels),
          };
        }),
      );
      loss += await takeNumber(measured.loss);
      correct += await takeNumber(measured.correct);
      images += batch.count;
      onProgress?.(images);
    }
  } finally {
    model.train(training);
  }
  return { images, correct, accuracy: correct / images, loss: loss / images };
}
