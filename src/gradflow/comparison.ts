/** The rows of the report's comparison: one measure each, one value per variant. */
import {
  cosineOverTraining,
  duplicateTotals,
  type GradientReuseReport,
  mean,
  type ReportComparisonRow,
  type ReportPieceSample,
  type ReportVariant,
  wilsonInterval,
} from "./report/index.ts";

type Interval = [low: number, high: number];

interface Measure {
  readonly measure: string;
  readonly unit: string;
  readonly note: string;
  readonly better: ReportComparisonRow["better"];
  /** Why a variant may have no value, where that is no failing. */
  readonly absent?: string;
  value(variant: ReportVariant): number | null;
  interval?(variant: ReportVariant): Interval | null;
}

/** 95 % interval of the mean of values sampled over training steps, by the normal approximation. */
function intervalOfMean(values: readonly number[]): Interval | null {
  if (values.length < 2) return null;
  const centre = mean(values) ?? 0;
  const variance = values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (values.length - 1);
  const half = 1.96 * Math.sqrt(variance / values.length);
  return [centre - half, centre + half];
}

const numbers = (values: readonly (number | null)[]): number[] => values.filter((value) => value !== null);

const cosines = ({ stages }: ReportVariant): number[] =>
  numbers(cosineOverTraining(stages).map(({ value }) => value));

const sideCorrelations = ({ stages }: ReportVariant): number[] =>
  numbers(stages.flatMap(({ sides }) => sides?.samples.map(({ correlation }) => correlation) ?? []));

/** The mean over a variant's feature maps of a figure of their pieces, at every sampled step. */
function overSteps(
  { stages }: ReportVariant,
  figure: (sample: ReportPieceSample, pieces: number) => number | null,
): number[] {
  const bySteps = new Map<number, (number | null)[]>();
  for (const { measured } of stages)
    for (const { consumers, samples } of measured)
      for (const sample of samples)
        bySteps.set(sample.step, [...(bySteps.get(sample.step) ?? []), figure(sample, consumers.length)]);
  return numbers([...bySteps.values()].map(mean));
}

/** n times the shared energy: 1 when a map's n pieces are orthogonal, n when they are copies. */
const energyRatios = (variant: ReportVariant): number[] =>
  overSteps(variant, ({ sharedEnergy }, pieces) => sharedEnergy && sharedEnergy * pieces);

const rankShares = (variant: ReportVariant): number[] =>
  overSteps(variant, ({ effectiveRank }, pieces) => effectiveRank && effectiveRank / pieces);

const sideCkas = ({ stages }: ReportVariant): number[] =>
  numbers(stages.flatMap(({ sides }) => sides?.samples.map(({ cka }) => cka) ?? []));

const weightCkas = ({ stages }: ReportVariant): number[] =>
  numbers(stages.flatMap(({ samples }) => samples.map(({ weightCka }) => weightCka)));

const mostPaths = ({ stages }: ReportVariant): number | null => {
  const counts = stages.flatMap(({ structure }) => structure.paths.map(({ count }) => Number(count)));
  return counts.length > 0 ? Math.max(...counts) : null;
};

const measures: readonly Measure[] = [
  {
    measure: "Test accuracy",
    unit: "fraction",
    note: "interval: Wilson, over test images; says nothing of another seed",
    better: "higher",
    value: ({ accuracy }) => accuracy.test,
    interval: ({ accuracy: { correct, testImages } }) =>
      correct === null || testImages === 0 ? null : [...wilsonInterval(correct, testImages)],
  },
  {
    measure: "Parameters",
    unit: "count",
    note: "trained numbers",
    better: "lower",
    value: ({ cost }) => cost.parameters,
  },
  {
    measure: "Operations per image",
    unit: "FLOPs",
    note: "forward pass, convolutions and classifier; a multiply-add counts 2",
    better: "lower",
    value: ({ cost }) => cost.flopsPerImage,
  },
  {
    measure: "CIO",
    unit: "elements",
    note: "input and output of every convolution, per image",
    better: "lower",
    value: ({ cost }) => cost.convInputOutput,
  },
  {
    measure: "Peak memory",
    unit: "bytes",
    note: "most tensor bytes live at one moment of a training step",
    better: "lower",
    value: ({ cost }) => cost.peakBytes,
  },
  {
    measure: "Time per step",
    unit: "ms",
    note: "median of training steps that were not sampled",
    better: "lower",
    value: ({ cost }) => cost.stepMilliseconds,
  },
  {
    measure: "Throughput",
    unit: "images/s",
    note: "while training, at the median step",
    better: "higher",
    value: ({ cost }) => cost.imagesPerSecond,
  },
  {
    measure: "Duplicated gradient uses",
    unit: "count",
    note: "Σ over gradients of (weights reached − 1), all stages; a DenseNet's last stage has no transition, a CSPDenseNet's has",
    better: "lower",
    value: (variant) => duplicateTotals(variant).total,
  },
  {
    measure: "Duplicated uses by channels",
    unit: "count",
    note: "the same sum, every term times the map's channels",
    better: "lower",
    value: (variant) => duplicateTotals(variant).weightedByChannels,
  },
  {
    measure: "Duplicates across the sides",
    unit: "count",
    note: "pairs of weights, one on each side of a stage, that share a gradient",
    better: "lower",
    value: (variant) => duplicateTotals(variant).acrossSides,
  },
  {
    measure: "Duplicated gradient bytes",
    unit: "bytes",
    note: "pieces beyond the first of their map, per image, f32",
    better: "lower",
    value: (variant) => duplicateTotals(variant).bytes,
  },
  {
    measure: "Most gradient paths to one map",
    unit: "count",
    note: "from the end of its stage",
    better: null,
    value: mostPaths,
  },
  {
    measure: "Cosine between pieces",
    unit: "ratio",
    note: "mean over pairs, maps and sampled steps; interval over steps, taken as independent: it is too narrow",
    better: "lower",
    value: (variant) => mean(cosines(variant)),
    interval: (variant) => intervalOfMean(cosines(variant)),
  },
  {
    measure: "Shared energy over that of orthogonal pieces",
    unit: "ratio",
    note: "n · |Σ v|² / (n Σ |v|²): 1 when orthogonal, n when copies; mean over maps and steps, interval as above",
    better: "lower",
    value: (variant) => mean(energyRatios(variant)),
    interval: (variant) => intervalOfMean(energyRatios(variant)),
  },
  {
    measure: "Effective rank per piece",
    unit: "ratio",
    note: "effective rank of a map's pieces over their number; 1: all different directions; interval as above",
    better: "higher",
    value: (variant) => mean(rankShares(variant)),
    interval: (variant) => intervalOfMean(rankShares(variant)),
  },
  {
    measure: "CKA between weight gradients",
    unit: "ratio",
    note: "debiased; mean over pairs of weights that read one map, maps, stages and steps; interval as above",
    better: "lower",
    value: (variant) => mean(weightCkas(variant)),
    interval: (variant) => intervalOfMean(weightCkas(variant)),
  },
  {
    measure: "Correlation between the sides",
    unit: "ratio",
    absent: "its stages have one side",
    note: "Pearson, of the two parts' gradients averaged over channels; only where a stage has two sides",
    better: null,
    value: (variant) => mean(sideCorrelations(variant)),
    interval: (variant) => intervalOfMean(sideCorrelations(variant)),
  },
  {
    measure: "CKA between the sides",
    unit: "ratio",
    absent: "its stages have one side",
    note: "debiased, of the two parts' gradients, images as examples; only where a stage has two sides",
    better: null,
    value: (variant) => mean(sideCkas(variant)),
    interval: (variant) => intervalOfMean(sideCkas(variant)),
  },
];

/** Every measure for every variant; a row without any value is left out. */
export function comparisonRows(variants: readonly ReportVariant[]): ReportComparisonRow[] {
  return measures
    .map(
      ({ measure, unit, note, better, value, interval }): ReportComparisonRow => ({
        measure,
        unit,
        note,
        better,
        values: variants.map(value),
        ...(interval ? { intervals: variants.map(interval) } : {}),
      }),
    )
    .filter(({ values }) => values.some((value) => value !== null));
}

/** Why values of the rows are missing, where a measure does not apply to every variant. */
export function comparisonGaps(rows: readonly ReportComparisonRow[]): GradientReuseReport["gaps"] {
  return rows.flatMap(({ measure, values }, row) => {
    const reason = measures.find((one) => one.measure === measure)?.absent;
    if (!reason) return [];
    return values.flatMap((value, i) =>
      value === null ? [{ path: `comparison[${row}].values[${i}]`, reason }] : [],
    );
  });
}
