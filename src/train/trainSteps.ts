/** A training of so many steps, whatever an epoch's length, that can begin in the middle. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { BatchLoader } from "../data/index.ts";
import type { StepRecord, TrainingRun } from "./trainingRun.ts";

export interface TrainStepsOptions {
  /** Steps in all, those of the run's records among them. */
  readonly steps: number;
  /** Stops after the current step. */
  readonly signal?: AbortSignal | undefined;
  /** Called after every step; the next one waits for it. */
  readonly onStep?: (record: StepRecord) => Promise<void> | void;
}

/**
 * Trains `run` until it has made `steps` steps, from the batch on that follows those it has made. Throws a
 * DivergedError, the loader's errors, and a RangeError for a loader without batches.
 */
export async function trainSteps(
  run: TrainingRun,
  loader: BatchLoader,
  { steps, signal, onStep }: TrainStepsOptions,
): Promise<void> {
  if (loader.length === 0)
    throw new RangeError(
      `trainSteps: ${loader.dataset.name} has ${loader.dataset.count} images, too few for a batch of ${loader.batchSize}`,
    );
  while (run.records.length < steps && !signal?.aborted) {
    const done = run.records.length;
    const startBatch = done % loader.length;
    for await (const batch of loader.epoch(Math.floor(done / loader.length), { startBatch })) {
      // A step leaves no room for signals and timers; here is where a Ctrl-C gets through.
      await nextTurn();
      if (signal?.aborted) break;
      const record = await run.step(batch);
      await onStep?.(record);
      if (run.records.length >= steps) break;
    }
  }
}
