/**
 * The few figures that the report computes itself from the ones it is given: means over pieces, totals over
 * stages, and the confidence interval of an accuracy. Kept apart from the drawing so that they can be tested.
 */

import type { GradientReuseReport, ReportPieceSample, ReportStage, ReportVariant } from "./schema.ts";

/** Mean cosine over the distinct pairs of pieces at one feature map; `null` without a pair. */
export function meanCosine(sample: ReportPieceSample): number | null {
  const pairs = sample.cosine.flatMap((row, r) => row.slice(r + 1));
  return mean(pairs);
}

/** Mean of the numbers that were measured; `null` when none was. */
export function mean(values: readonly (number | null)[]): number | null {
  const present = values.filter((value) => value !== null);
  if (present.length === 0) return null;
  return present.reduce((sum, value) => sum + value, 0) / present.length;
}

/**
 * Mean pairwise cosine of a stage's pieces at every sampled step: the mean over its feature maps that receive two
 * pieces or more, each counted once.
 */
export function cosineOverTraining(stages: readonly ReportStage[]): { step: number; value: number | null }[] {
  const byStep = new Map<number, (number | null)[]>();
  for (const { samples } of stages.flatMap((stage) => stage.measured)) {
    for (const sample of samples)
      byStep.set(sample.step, [...(byStep.get(sample.step) ?? []), meanCosine(sample)]);
  }
  return [...byStep].sort(([a], [b]) => a - b).map(([step, values]) => ({ step, value: mean(values) }));
}

/** Every step at which gradient pieces were sampled in some variant, ascending. */
export function sampledSteps(variants: readonly ReportVariant[]): number[] {
  const steps = variants.flatMap((variant) =>
    variant.stages.flatMap((stage) =>
      stage.measured.flatMap(({ samples }) => samples.map(({ step }) => step)),
    ),
  );
  return [...new Set(steps)].sort((a, b) => a - b);
}

/** The duplicate figures of a variant, added up over its stages. */
export interface DuplicateTotals {
  readonly total: number;
  readonly weightedByChannels: number;
  readonly acrossSides: number;
  /** Bytes per image; `null` when a stage's was not measured. */
  readonly bytes: number | null;
}

/** Sums the duplicate figures over a variant's stages. */
export function duplicateTotals(variant: ReportVariant): DuplicateTotals {
  const structures = variant.stages.map((stage) => stage.structure);
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  const bytes = structures.map((structure) => structure.duplicateBytes).filter((value) => value !== null);
  return {
    total: sum(structures.map((structure) => structure.duplicates.total)),
    weightedByChannels: sum(structures.map((structure) => structure.duplicates.weightedByChannels)),
    acrossSides: sum(structures.map((structure) => structure.duplicates.acrossSides)),
    bytes: bytes.length === structures.length ? sum(bytes) : null,
  };
}

/**
 * 95 % Wilson score interval of a share: how far the accuracy on another test set of the same size could lie, with
 * the same trained network. It says nothing about another seed.
 */
export function wilsonInterval(correct: number, total: number): readonly [low: number, high: number] {
  if (total === 0) return [0, 1];
  const z = 1.959964;
  const share = correct / total;
  const denominator = 1 + (z * z) / total;
  const centre = (share + (z * z) / (2 * total)) / denominator;
  const half = (z / denominator) * Math.sqrt((share * (1 - share)) / total + (z * z) / (4 * total * total));
  return [Math.max(0, centre - half), Math.min(1, centre + half)];
}

/**
 * 95 % interval (Newcombe's, from two Wilson intervals) of the difference of two shares, second minus first. For
 * two networks on the same test images it is wider than a paired interval, so it errs on the careful side.
 */
export function differenceInterval(
  first: { correct: number; total: number },
  second: { correct: number; total: number },
): readonly [low: number, high: number] {
  const [p1, p2] = [first.correct / first.total, second.correct / second.total];
  const [l1, u1] = wilsonInterval(first.correct, first.total);
  const [l2, u2] = wilsonInterval(second.correct, second.total);
  const difference = p2 - p1;
  return [difference - Math.hypot(p2 - l2, u1 - p1), difference + Math.hypot(u2 - p2, p1 - l1)];
}

/** Why the number at `path` is missing: the reason of the most specific gap that covers it, if one was given. */
export function gapReason(report: GradientReuseReport, path: string): string | undefined {
  const covers = (gap: string) => path === gap || path.startsWith(`${gap}.`) || path.startsWith(`${gap}[`);
  const found = report.gaps.filter((gap) => covers(gap.path));
  return found.sort((a, b) => b.path.length - a.path.length)[0]?.reason;
}
