/** The report in sentences: what was compared, what differs, and how sure one can be. Terminal and page share them. */

import { cosineOverTraining, differenceInterval, duplicateTotals, mean, sampledSteps } from "./derive.ts";
import { formatChange, formatRatio, formatValue, scaleFor } from "./format.ts";
import type { GradientReuseReport, ReportVariant } from "./schema.ts";

/** A variant's differences from the baseline, one sentence per topic. */
export interface Headline {
  readonly variant: string;
  readonly sentences: string[];
}

/** What was trained, on what, for how long. */
export function setting({ meta, variants }: GradientReuseReport): string {
  const names = variants.map((variant) => variant.name);
  const list =
    names.length < 2
      ? names.join("")
      : names.length > 3
        ? `${names.length} networks (${names.join("; ")})`
        : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
  const { name, trainImages, testImages } = meta.dataset;
  const train = formatValue(trainImages, "count");
  const seeds = meta.seeds ?? [meta.seed];
  return (
    `${list}, trained on ${name} (${train} training images, ${formatValue(testImages, "count")} test images) ` +
    `with ${seeds.length > 1 ? "seeds" : "seed"} ${seeds.join(", ")}, on ${meta.machine.threads} ${meta.machine.threads === 1 ? "thread" : "threads"} ` +
    `of ${meta.machine.cpu}.`
  );
}

/** The differences of every variant from the first one. */
export function headlines(report: GradientReuseReport): Headline[] {
  const [baseline, ...others] = report.variants;
  if (baseline === undefined) return [];
  return others.map((variant) => ({
    variant: variant.name,
    sentences: [
      costSentence(baseline, variant),
      accuracySentence(baseline, variant),
      structureSentence(baseline, variant),
      similaritySentence(baseline, variant),
    ].filter((sentence) => sentence !== undefined),
  }));
}

/** What the figures can and cannot carry: seeds, samples, and that similarity was observed, not caused. */
export function certainty(report: GradientReuseReport): string[] {
  const { meta } = report;
  const steps = sampledSteps(report.variants).length;
  const { everySteps, imagesPerSample, overheadFraction } = meta.sampling;
  const overhead =
    overheadFraction === null
      ? "What the sampling costs was not measured."
      : `Sampling took ${formatValue(overheadFraction, "fraction")} of the training time.`;
  return [
    meta.seeds && meta.seeds.length > 1
      ? `${meta.seeds.length} seeds: intervals over seeds are 95 %, by Student's t; where two overlap, the difference may be chance.`
      : `One seed (${meta.seed}): another seed may turn a small difference around; repeat the run with other seeds before relying on it.`,
    steps === 0
      ? "No gradient pieces were sampled: the structure is exact, similarity is missing."
      : `Structure is counted exactly on the traced graph. Similarity is sampled: ${steps} ${steps === 1 ? "step" : "steps"}, ` +
        `every ${everySteps} steps, ${imagesPerSample} images each. ${overhead}`,
    "Similarity of gradients is observed beside accuracy, it is not shown to cause it.",
  ];
}

function costSentence(baseline: ReportVariant, variant: ReportVariant): string | undefined {
  const items: [keyof ReportVariant["cost"], string, string, readonly [string, string]][] = [
    ["parameters", "parameters", "count", ["fewer", "more"]],
    ["flopsPerImage", "operations per image", "FLOPs", ["fewer", "more"]],
    ["convInputOutput", "convolution input and output", "elements", ["less", "more"]],
    ["peakBytes", "peak memory", "bytes", ["less", "more"]],
    ["stepMilliseconds", "time per step", "ms", ["less", "more"]],
  ];
  const parts = items.flatMap(([key, name, unit, words]) => {
    const [from, to] = [baseline.cost[key], variant.cost[key]];
    if (from === null || to === null) return [];
    return `${formatChange(from, to, words)} ${name} (${formatPair(to, from, unit)})`;
  });
  return parts.length === 0 ? undefined : `Cost: ${parts.join("; ")}.`;
}

/** Two values under one unit: `10.42 against 15.90 MFLOPs`. */
function formatPair(value: number, baseline: number, unit: string): string {
  const { label, format } = scaleFor(unit, [value, baseline]);
  return `${format(value)} against ${format(baseline)}${label === "" ? "" : ` ${label}`}`;
}

function accuracySentence(baseline: ReportVariant, variant: ReportVariant): string | undefined {
  const [from, to] = [baseline.accuracy, variant.accuracy];
  if (from.test === null || to.test === null) return undefined;
  const head = `Accuracy: ${formatValue(to.test, "fraction")} of the test images right against ${formatValue(from.test, "fraction")}`;
  if (from.correct === null || to.correct === null || from.testImages === 0 || to.testImages === 0)
    return `${head}.`;
  const [low, high] = differenceInterval(
    { correct: from.correct, total: from.testImages },
    { correct: to.correct, total: to.testImages },
  );
  const points = (share: number) => `${share < 0 ? "-" : "+"}${Math.abs(share * 100).toFixed(2)}`;
  const verdict =
    low <= 0 && high >= 0 ? "this test set cannot tell them apart" : "more than the test set's own noise";
  const difference = points(to.test - from.test);
  return `${head}: ${difference} percentage points (95 % interval ${points(low)} to ${points(high)}), ${verdict}.`;
}

function structureSentence(baseline: ReportVariant, variant: ReportVariant): string {
  const [from, to] = [duplicateTotals(baseline), duplicateTotals(variant)];
  const uses =
    to.total === from.total
      ? `${to.total} duplicated gradient uses in both`
      : `${formatPair(to.total, from.total, "count")} duplicated gradient uses`;
  const weighted = formatChange(from.weightedByChannels, to.weightedByChannels, ["fewer", "more"]);
  const across =
    to.acrossSides === 0
      ? "no gradient updates weights on both sides of a stage"
      : `${to.acrossSides} pairs of weights share a gradient across the two sides of a stage`;
  return (
    `Structure: ${uses}; counted by channels ${weighted} ` +
    `(${formatPair(to.weightedByChannels, from.weightedByChannels, "count")}); ${across}.`
  );
}

function similaritySentence(baseline: ReportVariant, variant: ReportVariant): string | undefined {
  const [from, to] = [baseline, variant].map((one) => cosineOverTraining(one.stages));
  if (from === undefined || to === undefined) return undefined;
  const average = (samples: typeof to) => mean(samples.map((sample) => sample.value));
  const [before, after] = [average(from), average(to)];
  if (before === null || after === null) return undefined;
  const ends = `${formatRatio(to[0]?.value ?? null)} at the first sample, ${formatRatio(to.at(-1)?.value ?? null)} at the last`;
  return (
    `Similarity: the pieces of gradient that meet at a feature map have a mean cosine of ${formatRatio(after)} ` +
    `against ${formatRatio(before)} (${ends}).`
  );
}
