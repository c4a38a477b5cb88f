/** What was measured on the gradient pieces of a stage: heat maps at each sampled step, curves over training. */

import { cosineOverTraining, meanCosine } from "../derive.ts";
import { scaleFor } from "../format.ts";
import type {
  GradientReuseReport,
  ReportMeasuredPieces,
  ReportPieceSample,
  ReportVariant,
} from "../schema.ts";
import { isMany, type PageContext } from "./context.ts";
import { overRuns, samplesOfRuns } from "./curves.ts";
import { foldedTable, heading, slug, svgFigure } from "./figure.ts";
import { heatMap } from "./heatMap.ts";
import { type ChartPoint, chartSize, extent, lineChart, type Series } from "./lineChart.ts";
import { element, type Markup } from "./markup.ts";
import { numberCell, ratioCell } from "./numbers.ts";
import type { StageView } from "./structure.ts";
import { symbolHtml } from "./typeset.ts";

/** The heat maps of one network's stage, drawn at its last sampled step. */
export function heatMaps({ variant, stage, scope }: StageView): Markup {
  const shown = stage.measured
    .map((pieces, m) => ({ pieces, m }))
    .filter(({ pieces }) => pieces.consumers.length > 1);
  return element(
    "div",
    {},
    element("h4", {}, variant),
    shown.length === 0
      ? element(
          "p",
          { class: "small" },
          "No feature map of this stage receives two pieces that were sampled.",
        )
      : element(
          "div",
          { class: "heats" },
          shown.map(({ pieces, m }) =>
            svgFigure(
              `${slug(variant)}-${slug(stage.name)}-cosine-${slug(pieces.featureMap)}`,
              ["pieces at ", symbolHtml(pieces.featureMap)],
              heatMap(pieces, pieces.samples.length - 1, `${scope} ${m}`),
              { class: "small-figure" },
            ),
          ),
        ),
  );
}

interface Measure {
  readonly name: string;
  readonly of: (sample: ReportPieceSample) => number | null;
  readonly domain: readonly [number, number] | undefined;
}

const measures: readonly Measure[] = [
  { name: "mean cosine", of: meanCosine, domain: undefined },
  { name: "shared energy", of: (sample) => sample.sharedEnergy, domain: [0, 1] },
  { name: "first-direction share", of: (sample) => sample.firstDirectionShare, domain: [0, 1] },
  { name: "effective rank", of: (sample) => sample.effectiveRank, domain: undefined },
];

/** Four measures over training, a line per feature map, on the same vertical scale for every network of `all`. */
export function similarityCharts({ variant, stage }: StageView, all: readonly StageView[]): Markup {
  return element(
    "div",
    {},
    element("h4", {}, variant),
    element(
      "div",
      { class: "quads" },
      measures.map((measure) =>
        svgFigure(
          `${slug(variant)}-${slug(stage.name)}-${slug(measure.name)}`,
          `${variant}: ${measure.name}`,
          lineChart({
            title: `${measure.name}, ${variant}, ${stage.name}`,
            description: "One line per feature map that receives two pieces or more.",
            yLabel: measure.name,
            width: 280,
            height: 196,
            labelsAtEnd: true,
            yDomain: measure.domain ?? commonDomain(measure, all),
            series: severalPieces(stage.measured).map((pieces, style) => ({
              label: pieces.featureMap,
              style,
              kind: pieces.samples.length <= 12 ? "marks" : undefined,
              points: pieces.samples.map((sample) => ({ x: sample.step, y: measure.of(sample) })),
            })),
          }),
          { class: "small-figure" },
        ),
      ),
    ),
  );
}

function severalPieces(measured: readonly ReportMeasuredPieces[]): ReportMeasuredPieces[] {
  return measured.filter((pieces) => pieces.consumers.length > 1);
}

function commonDomain(measure: Measure, all: readonly StageView[]): [number, number] {
  const values = all
    .flatMap(({ stage }) => severalPieces(stage.measured).flatMap((pieces) => pieces.samples.map(measure.of)))
    .filter((value) => value !== null);
  const low = values.reduce((a, b) => Math.min(a, b), 0);
  const high = values.reduce((a, b) => Math.max(a, b), low + 0.01);
  return [low, high];
}

/** Correlation between the gradients of the two sides, one line per network that has two sides. */
export function sideCorrelation(
  views: readonly StageView[],
  { explain, parts }: PageContext,
  title: (text: string) => Markup,
): Markup | undefined {
  const withSides = views.filter(({ stage }) => stage.sides !== undefined);
  const stageName = views[0]?.stage.name ?? "";
  if (withSides.length === 0) return undefined;
  return element(
    "div",
    {},
    title("Correlation between the sides"),
    element(
      "p",
      { class: "how" },
      "Pearson correlation between the gradients of the dense side and of the bypass side: 0 says that they have " +
        "nothing linear in common.",
    ),
    svgFigure(
      `${slug(stageName)}-side-correlation`,
      `${stageName}: correlation between the gradients of the two sides`,
      lineChart({
        title: `Correlation between the sides, ${stageName}`,
        description: "One line per network that has two sides.",
        yLabel: "correlation between the sides",
        series: withSides.map(({ stage, variant, path }) => ({
          label: variant,
          // The same colour as in every other chart.
          style: Number(/\d+/.exec(path)?.[0] ?? 0),
          kind: "marks",
          points: (stage.sides?.samples ?? []).map(({ step, correlation }) => ({ x: step, y: correlation })),
        })),
      }),
    ),
    withSides.map(({ stage, variant, path }) =>
      foldedTable(parts, `Numbers: correlation between the sides of ${variant}`, {
        caption: `${variant}, ${stageName}: correlation between the gradients of the two sides`,
        fileName: `${slug(variant)}-${slug(stageName)}-side-correlation`,
        head: element(
          "tr",
          {},
          ["Step", "Correlation", "CKA"].map((text) => heading("col", text, { class: "n" })),
        ),
        body: (stage.sides?.samples ?? []).map(({ step, correlation, cka }, i) =>
          element(
            "tr",
            {},
            numberCell(step, steps, ""),
            ratioCell(correlation, explain(`${path}.sides.samples[${i}].correlation`)),
            ratioCell(cka, explain(`${path}.sides.samples[${i}].cka`)),
          ),
        ),
      }),
    ),
  );
}

const steps = scaleFor("count", []);

/** One chart per stage, the networks in it: the mean cosine of a stage's pieces over training. */
export function cosineOverview(
  report: GradientReuseReport,
  stageNames: readonly string[],
): Markup | undefined {
  const many = isMany(report);
  const charts = stageNames.map((name) => ({
    name,
    series: report.variants.flatMap((variant, style): Series[] => {
      const points = cosinePoints(variant, name);
      if (many && points.every(({ y }) => y === null)) return [];
      return [{ label: variant.name, style, variant: style, kind: "marks", points }];
    }),
  }));
  const values = charts.flatMap(({ series }) =>
    series.flatMap(({ points }) => points.flatMap(({ y, low, high }) => [y, low ?? null, high ?? null])),
  );
  if (values.every((value) => value === null)) return undefined;
  const [low, high] = extent(values);
  const isBand = report.variants.some(({ seeds }) => (seeds?.length ?? 1) > 1);
  return element(
    "div",
    { class: many ? "grid" : "grid thirds" },
    charts.map(({ name, series }) =>
      svgFigure(
        `${slug(name)}-mean-cosine`,
        `${name}: mean cosine between the gradient pieces that meet at its feature maps.${isBand ? " Line: mean of the seeds; band: from the lowest to the highest." : ""}`,
        lineChart({
          title: `Mean cosine of gradient pieces, ${name}`,
          description: "One line per network.",
          yLabel: "mean cosine",
          yDomain: [Math.min(0, low), high],
          series,
          ...chartSize(many, series.length),
        }),
      ),
    ),
  );
}

/** Of every seed where there are seeds; else of the one run's pieces. */
function cosinePoints(variant: ReportVariant, stage: string): ChartPoint[] {
  if (variant.seeds)
    return overRuns(
      samplesOfRuns(variant, stage).map((samples) => ({
        steps: samples.map(({ step }) => step),
        values: samples.map(({ cosine }) => cosine),
      })),
    );
  const samples = cosineOverTraining(variant.stages.filter(({ name }) => name === stage));
  return samples.map(({ step, value }) => ({ x: step, y: value }));
}
