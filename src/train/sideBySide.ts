/** Training several networks on the same batches in the same order, so that only the networks differ. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { BatchLoader } from "../data/index.ts";
import { type Evaluation, evaluate } from "./evaluate.ts";
import type { Progress } from "./progress.ts";
import type { TrainingRun } from "./trainingRun.ts";

export interface SideBySideOptions {
  readonly epochs: number;
  /** Images to evaluate every network on at the end. */
  readonly test: BatchLoader;
  /** Stops after the current batch, when every network has trained on it. */
  readonly signal?: AbortSignal | undefined;
  readonly progress?: Progress | undefined;
  /** Called between two batches, when every network has trained on the first of them. */
  readonly onBatch?: (() => void) | undefined;
}

/**
 * Trains `runs` in turns, batch by batch, then evaluates them one after the other. Returns the evaluation of each, in
 * the order of `runs`: null where the signal came first, of fewer images where it came in the middle. Throws a
 * DivergedError when the loss of one of them is not finite.
 */
export async function trainSideBySide(
  runs: readonly TrainingRun[],
  loader: BatchLoader,
  { epochs, test, signal, progress, onBatch }: SideBySideOptions,
): Promise<(Evaluation | null)[]> {
  for (let epoch = 0; epoch < epochs && !signal?.aborted; epoch++)
    for await (const batch of loader.epoch(epoch)) {
      // A step leaves no room for signals and timers; here is where a Ctrl-C gets through.
      await nextTurn();
      if (signal?.aborted) break;
      for (const run of runs) {
        const record = await run.step(batch);
        progress?.trained(run.name, record, `epoch ${epoch + 1}/${epochs}`);
      }
      onBatch?.();
    }
  const evaluations: (Evaluation | null)[] = [];
  for (const { name, model } of runs) {
    const onProgress = (images: number) => progress?.evaluated(name, images, test.dataset.count);
    const evaluation = signal?.aborted ? null : await evaluate(model, test, { signal, onProgress });
    evaluations.push(evaluation?.images ? evaluation : null);
  }
  return evaluations;
}
