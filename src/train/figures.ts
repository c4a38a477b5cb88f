/** A training run's measurements in the form that the gradient reuse report takes. */
import type { GradientReuseReport, MeasuredVariant } from "../gradflow/index.ts";
import type { Evaluation } from "./evaluate.ts";
import type { StepRecord, TrainingRun } from "./trainingRun.ts";

/** How long the steps of one network took. */
export interface StepTiming {
  /** Median time of the steps that were not sampled; null when there is none. */
  readonly stepMilliseconds: number | null;
  /** At the median step, with the first step's number of images. */
  readonly imagesPerSecond: number | null;
  /** Time that the sampled steps took beyond the median step. */
  readonly samplingMilliseconds: number;
  readonly totalMilliseconds: number;
}

/** The first steps compile kernels and warm the caches; they would tell of the start, not of the step. */
const warmUp = 2;

/** Times of `records`, of which every `everySteps`-th, the first among them, was sampled. */
export function stepTiming(records: readonly StepRecord[], everySteps: number): StepTiming {
  const settled = records.slice(warmUp);
  const sampled = settled.filter(({ step }) => step % everySteps === 0);
  const plain = settled.filter(({ step }) => step % everySteps !== 0);
  const totalMilliseconds = settled.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  if (plain.length === 0)
    return { stepMilliseconds: null, imagesPerSecond: null, samplingMilliseconds: 0, totalMilliseconds };
  const median = plain.map(({ milliseconds }) => milliseconds).sort((a, b) => a - b)[plain.length >> 1];
  return {
    stepMilliseconds: median,
    imagesPerSecond: (1000 * plain[0].images) / median,
    samplingMilliseconds: sampled.reduce(
      (sum, { milliseconds }) => sum + Math.max(0, milliseconds - median),
      0,
    ),
    totalMilliseconds,
  };
}

/** Share of the networks' training time that sampling added; null where there is nothing to compare it with. */
export function samplingShare(runs: readonly TrainingRun[], everySteps: number): number | null {
  const timings = runs.map(({ records }) => stepTiming(records, everySteps));
  if (timings.some(({ stepMilliseconds }) => stepMilliseconds === null)) return null;
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  return (
    sum(timings.map(({ samplingMilliseconds }) => samplingMilliseconds)) /
    sum(timings.map(({ totalMilliseconds }) => totalMilliseconds))
  );
}

/** What the report says of a network's training. `evaluation` is null when the run was stopped before it. */
export function trainingFigures(
  run: TrainingRun,
  evaluation: Evaluation | null,
  everySteps: number,
): MeasuredVariant["training"] {
  const { records } = run;
  const { stepMilliseconds, imagesPerSecond } = stepTiming(records, everySteps);
  const tested = evaluation !== null && evaluation.images > 0;
  return {
    accuracy: {
      test: tested ? evaluation.accuracy : null,
      train: null,
      testImages: tested ? evaluation.images : 0,
      correct: tested ? evaluation.correct : null,
    },
    curves: {
      step: records.map(({ step }) => step),
      loss: records.map(({ loss }) => loss),
      trainAccuracy: records.map(({ accuracy }) => accuracy),
      evaluations: tested ? [{ step: records.length, testAccuracy: evaluation.accuracy }] : [],
    },
    peakBytes: records.length > 0 ? run.peakBytes : null,
    stepMilliseconds,
    imagesPerSecond,
  };
}

/** Why the figures above are null, for the report: one evaluation per variant, in its order. */
export function trainingGaps(evaluations: readonly (Evaluation | null)[]): GradientReuseReport["gaps"] {
  // The comparison leaves out a row that has no value at all.
  const compared = evaluations.some((evaluation) => evaluation !== null);
  return evaluations.flatMap((evaluation, i) => {
    const accuracy = `variants[${i}].accuracy`;
    const stopped = "the run was stopped before the test images";
    return [
      { path: `${accuracy}.train`, reason: "only the batches were measured, while training: see the curves" },
      ...(evaluation
        ? []
        : [
            { path: accuracy, reason: stopped },
            ...(compared ? [{ path: `comparison[0].values[${i}]`, reason: stopped }] : []),
          ]),
    ];
  });
}
