/** The rows of the report's comparison: one measure each, one value per variant. */
import { type Summary, summarize } from "./measures/index.ts";
import {
  duplicateTotals,
  type GradientReuseReport,
  mean,
  type ReportComparisonRow,
  type ReportSeedRun,
  type ReportStageSample,
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
  /** The value of one seed, where seeds differ: the row then has their mean and its interval. */
  ofSeed?(run: ReportSeedRun): number | null;
  /** Counted on the network, whose gradient paths are other ones where they were edited: then it has no value. */
  readonly onPaths?: boolean;
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

type Sampled = { readonly samples: readonly ReportStageSample[] };

/** A row for a figure that is sampled at steps, in every stage. */
function sampledMeasure(
  figure: Exclude<keyof ReportStageSample, "step">,
  about: Pick<Measure, "measure" | "note" | "better" | "absent">,
): Measure {
  const values = (stages: readonly Sampled[]) =>
    numbers(stages.flatMap(({ samples }) => samples.map((sample) => sample[figure])));
  return {
    ...about,
    unit: "ratio",
    value: ({ stages }) => mean(values(stages)),
    interval: ({ stages }) => intervalOfMean(values(stages)),
    ofSeed: ({ stages }) => mean(values(stages)),
  };
}

/** Gradient uses beyond the first of each gradient, over all uses: Σ (reuse − 1) / Σ reuse. */
function duplicateShare({ stages }: ReportVariant): number | null {
  const reuses = stages.flatMap(({ structure }) => structure.reuse.map(({ count }) => count));
  const uses = reuses.reduce((sum, count) => sum + count, 0);
  return uses > 0 ? reuses.reduce((sum, count) => sum + Math.max(0, count - 1), 0) / uses : null;
}

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
    ofSeed: ({ accuracy }) => accuracy.test,
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
    ofSeed: ({ peakBytes }) => peakBytes,
  },
  {
    measure: "Time per step",
    unit: "ms",
    note: "median of training steps that were not sampled",
    better: "lower",
    value: ({ cost }) => cost.stepMilliseconds,
    ofSeed: ({ stepMilliseconds }) => stepMilliseconds,
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
    onPaths: true,
    value: (variant) => duplicateTotals(variant).total,
  },
  {
    measure: "Duplicate share",
    unit: "fraction",
    note: "of all uses of a gradient to update a weight, those beyond the gradient's first, all stages",
    better: "lower",
    onPaths: true,
    value: duplicateShare,
  },
  {
    measure: "Duplicated uses by channels",
    unit: "count",
    note: "the same sum, every term times the map's channels",
    better: "lower",
    onPaths: true,
    value: (variant) => duplicateTotals(variant).weightedByChannels,
  },
  {
    measure: "Duplicates across the sides",
    unit: "count",
    note: "pairs of weights, one on each side of a stage, that share a gradient",
    better: "lower",
    onPaths: true,
    value: (variant) => duplicateTotals(variant).acrossSides,
  },
  {
    measure: "Duplicated gradient bytes",
    unit: "bytes",
    note: "pieces beyond the first of their map, per image, f32",
    better: "lower",
    onPaths: true,
    value: (variant) => duplicateTotals(variant).bytes,
  },
  {
    measure: "Most gradient paths to one map",
    unit: "count",
    note: "from the end of its stage",
    better: null,
    onPaths: true,
    value: mostPaths,
  },
  sampledMeasure("cosine", {
    measure: "Cosine between pieces",
    note: "mean over pairs, maps, stages and sampled steps; interval over steps, taken as independent: it is too narrow",
    better: "lower",
  }),
  sampledMeasure("energyRatio", {
    measure: "Shared energy over that of orthogonal pieces",
    note: "n · |Σ v|² / (n Σ |v|²): 1 when orthogonal, n when copies; mean and interval as above",
    better: "lower",
  }),
  sampledMeasure("rankShare", {
    measure: "Effective rank per piece",
    note: "effective rank of a map's pieces over their number; 1: all different directions; mean and interval as above",
    better: "higher",
  }),
  sampledMeasure("weightCka", {
    measure: "CKA between weight gradients",
    note: "debiased; of weights that read one map, over its channels; mean and interval as above",
    better: "lower",
  }),
  sampledMeasure("sideCorrelation", {
    measure: "Correlation between the sides",
    absent: "its stages have one side",
    note: "Pearson, of the two parts' gradients averaged over channels; only where a stage has two sides",
    better: null,
  }),
  sampledMeasure("sideCka", {
    measure: "CKA between the sides",
    absent: "its stages have one side",
    note: "debiased, of the two parts' gradients, images as examples; only where a stage has two sides",
    better: null,
  }),
];

/** A measure's mean over a variant's seeds; null where there is one run, or the measure does not differ by seed. */
function overSeeds({ ofSeed }: Measure, { seeds }: ReportVariant): Summary | null {
  return seeds && ofSeed ? summarize(seeds.map(ofSeed)) : null;
}

function intervalOf(measure: Measure, variant: ReportVariant): Interval | null {
  const seeds = overSeeds(measure, variant);
  if (seeds) return seeds.interval && [...seeds.interval];
  return measure.interval?.(variant) ?? null;
}

/** What a row's interval is over, where the variants were trained with several seeds. */
function noteOf({ note, ofSeed, interval }: Measure, variants: readonly ReportVariant[]): string {
  const seeds = Math.max(...variants.map((variant) => variant.seeds?.length ?? 0));
  if (seeds < 2 || !ofSeed) return note;
  const plain = interval ? note.replace(/;? ?(mean and )?interval.*$/, "") : note;
  return `${plain}${plain === "" ? "" : "; "}mean of ${seeds} seeds, interval over seeds by Student's t`;
}

/** Every measure for every variant; a row without any value is left out. */
export function comparisonRows(variants: readonly ReportVariant[]): ReportComparisonRow[] {
  return measures
    .map((one): ReportComparisonRow => {
      const intervals = variants.map((variant) => intervalOf(one, variant));
      return {
        measure: one.measure,
        unit: one.unit,
        note: noteOf(one, variants),
        better: one.better,
        values: variants.map((variant) => {
          if (one.onPaths && variant.counterfactual) return null;
          const seeds = overSeeds(one, variant);
          return seeds ? seeds.mean : one.value(variant);
        }),
        ...(one.interval || intervals.some((interval) => interval !== null) ? { intervals } : {}),
      };
    })
    .filter(({ values }) => values.some((value) => value !== null));
}

/** Why values of the rows are missing, where a measure does not apply to every variant. */
export function comparisonGaps(
  rows: readonly ReportComparisonRow[],
  variants: readonly ReportVariant[],
): GradientReuseReport["gaps"] {
  return rows.flatMap(({ measure, values }, row) => {
    const found = measures.find((one) => one.measure === measure);
    return values.flatMap((value, i) => {
      const original = variants[i]?.counterfactual?.of;
      const edited =
        found?.onPaths && original
          ? `its gradient paths were edited: those of ${original} are counted there`
          : null;
      const reason = edited ?? found?.absent;
      return value === null && reason ? [{ path: `comparison[${row}].values[${i}]`, reason }] : [];
    });
  });
}
