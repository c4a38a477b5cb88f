/** From the runs of a comparison to its report. */
import type { ImageDataset } from "../../data/index.ts";
import {
  buildReport,
  type GradientReuseReport,
  type MeasuredVariant,
  type ReportSeedRun,
  type ReportVariant,
} from "../../gradflow/index.ts";
import { init } from "../../nn/index.ts";
import { scope } from "../../tensor/index.ts";
import { environment } from "../publishReport.ts";
import type { ComparedVariant, CompareSettings } from "./options.ts";
import type { SeedResult } from "./seedResult.ts";

/** Puts the finished variants together; null when there is none. */
export function comparisonReport(
  settings: CompareSettings,
  results: ReadonlyMap<string, SeedResult[]>,
): GradientReuseReport | null {
  const { variants, seeds, data, steps, batchSize, learningRate, everySteps, title } = settings;
  const complete = (name: string) => results.get(name)?.length === seeds.length;
  const finished = variants.filter(
    ({ name, counterfactual }) => complete(name) && (!counterfactual || complete(counterfactual.of)),
  );
  if (finished.length === 0) return null;
  const measured = finished.map((variant) =>
    measuredVariant(variant, results.get(variant.name) ?? [], data.train),
  );
  const left = variants.length - finished.length;
  const timed = [...results.values()].flat().flatMap(({ sampling }) => sampling ?? []);
  const total = timed.reduce((sum, one) => sum + one.total, 0);
  return buildReport(
    {
      title: title ?? `Gradient flow of ${finished.map(({ name }) => name).join(", ")} on ${data.train.name}`,
      seed: seeds[0],
      seeds: [...seeds],
      dataset: {
        name: data.train.name.replace(/ train$/, ""),
        trainImages: data.train.count,
        testImages: data.test.count,
      },
      ...environment(),
      finished: left === 0,
      ...(left > 0
        ? { stopReason: `${left} of ${variants.length} variants are not trained with every seed yet` }
        : {}),
      sampling: {
        everySteps,
        imagesPerSample: batchSize,
        overheadFraction: total > 0 ? timed.reduce((sum, one) => sum + one.added, 0) / total : null,
      },
      settings: { steps, batchSize, learningRate, schedule: "linear warm-up over a tenth, cosine" },
    },
    measured,
    finished.flatMap((variant, i) => gapsOf(variant, i)),
  );
}

/**
 * The comparison of the runs that are finished while others are still to come: with as many seeds as every variant has,
 * or with the first seed of those that have it; null when there is none.
 */
export function reportSoFar(
  settings: CompareSettings,
  results: ReadonlyMap<string, SeedResult[]>,
): GradientReuseReport | null {
  const { variants, seeds } = settings;
  const counts = variants.map(({ name }) => results.get(name)?.length ?? 0);
  const shared = Math.max(1, Math.min(...counts));
  const first = new Map([...results].map(([name, list]) => [name, list.slice(0, shared)]));
  // Asked for again and again: the networks that are built to be traced are freed at once.
  const report = scope(() => comparisonReport({ ...settings, seeds: seeds.slice(0, shared) }, first));
  if (report === null) return null;
  const done = counts.reduce((sum, count) => sum + count, 0);
  const stopReason = `${done} of ${variants.length * seeds.length} runs, shown with ${shared === 1 ? "one seed" : `${shared} seeds`}`;
  return { ...report, meta: { ...report.meta, finished: false, stopReason } };
}

function gapsOf({ counterfactual }: ComparedVariant, index: number): GradientReuseReport["gaps"] {
  const gaps = [
    {
      path: `variants[${index}].accuracy.train`,
      reason: "only the batches were measured, while training: see the curves",
    },
  ];
  if (!counterfactual) return gaps;
  const reason =
    "every step is watched to edit its gradient paths, so its time and memory are not the network's";
  const figures = ["peakBytes", "stepMilliseconds", "imagesPerSecond"];
  return [...gaps, ...figures.map((figure) => ({ path: `variants[${index}].cost.${figure}`, reason }))];
}

const meanOf = (values: readonly (number | null)[]): number | null => {
  const known = values.filter((value) => value !== null);
  return known.length > 0 ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
};

const curvesOf = ({ loss, trainAccuracy, correct, testImages }: SeedResult): ReportVariant["curves"] => ({
  step: loss.map((_, step) => step),
  loss,
  trainAccuracy,
  evaluations: [{ step: loss.length, testAccuracy: correct / testImages }],
});

function measuredVariant(
  { name, description, architecture, build, counterfactual }: ComparedVariant,
  results: readonly SeedResult[],
  { channels, height, width }: ImageDataset,
): MeasuredVariant {
  const model = init.withoutDrawing(build);
  const [first] = results;
  const sum = (of: (result: SeedResult) => number) =>
    results.reduce((total, result) => total + of(result), 0);
  const [testImages, correct] = [sum((result) => result.testImages), sum((result) => result.correct)];
  return {
    ...{ name, description, architecture, model },
    stages: model.stages,
    imageShape: [channels, height, width],
    recorder: { measured: () => first.measured },
    training: {
      accuracy: { test: correct / testImages, train: null, testImages, correct },
      curves: curvesOf(first),
      peakBytes: meanOf(results.map(({ peakBytes }) => peakBytes)),
      stepMilliseconds: meanOf(results.map(({ stepMilliseconds }) => stepMilliseconds)),
      imagesPerSecond: meanOf(results.map(({ imagesPerSecond }) => imagesPerSecond)),
    },
    seeds: results.map(
      (result): ReportSeedRun => ({
        seed: result.seed,
        accuracy: {
          test: result.correct / result.testImages,
          train: null,
          testImages: result.testImages,
          correct: result.correct,
        },
        curves: curvesOf(result),
        peakBytes: result.peakBytes,
        stepMilliseconds: result.stepMilliseconds,
        stages: result.measured.map(({ name: stage, samples }) => ({ name: stage, samples })),
      }),
    ),
    ...(counterfactual
      ? { counterfactual: { of: counterfactual.of, edit: counterfactual.edit, pieces: first.editedPieces } }
      : {}),
  };
}
