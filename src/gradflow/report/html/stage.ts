/** A stage of every network, side by side: diagram, reuse, equations, paths, and what was measured on it. */

import { scaleFor } from "../format.ts";
import type { GradientReuseReport, ReportStage } from "../schema.ts";
import { heading, slug, svgFigure, table } from "./figure.ts";
import { heatLegend } from "./heatMap.ts";
import { type Content, element, type Markup } from "./markup.ts";
import { type Explain, measureHeading, numberCell } from "./numbers.ts";
import { stageId } from "./overview.ts";
import { heatMaps, sampleTables, sideCorrelation, similarityCharts } from "./similarity.ts";
import { diagramScale, isWide, stageDiagram } from "./stageDiagram.ts";
import { equations, matrixLegend, reuseMatrix, type StageView, structureTables } from "./structure.ts";
import { indexSymbols } from "./symbolIndex.ts";

/** The stages' names over all networks, in order of first appearance. */
export function stageNames(report: GradientReuseReport): string[] {
  return [...new Set(report.variants.flatMap((variant) => variant.stages.map((stage) => stage.name)))];
}

/** The section of the stage called `name`. */
export function stageSection(report: GradientReuseReport, name: string, explain: Explain): Markup {
  const views = report.variants.flatMap((variant, v) =>
    variant.stages.flatMap((stage, s): StageView[] => {
      if (stage.name !== name) return [];
      const path = `variants[${v}].stages[${s}]`;
      return [
        { variant: variant.name, stage, index: indexSymbols(stage.structure), scope: `${v} ${s}`, path },
      ];
    }),
  );
  const scale = diagramScale(views.map(({ stage }) => stage.structure));
  const beside = (draw: (view: StageView) => Content) => element("div", { class: "grid" }, views.map(draw));
  const diagram = ({ variant, stage, index, scope }: StageView) =>
    svgFigure(
      `${slug(variant)}-${slug(name)}-diagram`,
      `${variant}, ${name}`,
      stageDiagram(`${variant}, ${name}`, stage.structure, index, scale),
      { "data-scope": scope },
    );
  return element(
    "section",
    { id: stageId(name, stageNames(report)), class: "stage" },
    element("h2", {}, name),
    reuseFigures(name, views, explain),
    element("h3", {}, "The stage and its gradients"),
    element(
      "p",
      { class: "how" },
      "Boxes are feature maps with their channels, circles the layers that write them. Arcs above: what a layer reads. " +
        "Arcs below: the piece of gradient that it sends back, as wide as the map has channels. Point at or tap a layer " +
        "or a map to light what belongs to it.",
    ),
    element("div", { class: isWide(scale) ? "stack" : "grid" }, views.map(diagram)),
    element("h3", {}, "Reuse matrix"),
    element(
      "p",
      { class: "how" },
      "The weight update equations as a matrix: a mark where the gradient updates the weight.",
    ),
    matrixLegend(),
    beside(reuseMatrix),
    element("h3", {}, "Equations"),
    element(
      "p",
      { class: "how" },
      "Derived from the traced graph. ∗ is a layer, […] concatenation, f the weight update. ",
      element("mark", {}, "Marked"),
      " gradients update more than one weight.",
    ),
    beside(equations),
    element("h3", {}, "Gradient paths"),
    element(
      "p",
      { class: "how" },
      "Directed paths from the end of the stage back to each feature map: how many, and their shortest and longest length in layers. Size is height × width; reuse is the number of weights that the map's gradient updates.",
    ),
    beside((view) => structureTables(view, explain)),
    element("h3", {}, "Similarity of the pieces"),
    element(
      "p",
      { class: "how" },
      "Cosine between the pieces of gradient that different layers send to the same feature map: 1 is the same " +
        "direction, 0 none in common.",
    ),
    heatControls(views),
    beside(heatMaps),
    element("h3", {}, "Similarity over training"),
    element(
      "p",
      { class: "how" },
      "A line per feature map that receives two pieces or more; every network on the same scale.",
    ),
    beside((view) => similarityCharts(view, views)),
    sideCorrelation(views, explain),
    views.map((view) => sampleTables(view, explain)),
  );
}

/** The slider over sampled steps; without the script it stays hidden and the last step is shown. */
function heatControls(views: readonly StageView[]): Markup {
  const steps = longestSteps(views.map((view) => view.stage));
  const last = Math.max(0, steps.length - 1);
  return element(
    "div",
    { class: "heat-controls" },
    heatLegend(),
    element(
      "label",
      { class: "slider", hidden: true },
      "Sampled step ",
      element("input", {
        type: "range",
        min: 0,
        max: last,
        value: last,
        step: 1,
        "data-steps": steps.join(" "),
      }),
      " ",
      element("output", {}, steps.at(-1) ?? "none"),
    ),
    element(
      "span",
      { class: "shown-step" },
      steps.length === 0 ? "No step was sampled." : `Shown: step ${steps.at(-1)}.`,
    ),
  );
}

function longestSteps(stages: readonly ReportStage[]): number[] {
  const steps = stages.flatMap((stage) =>
    stage.measured.flatMap(({ samples }) => samples.map(({ step }) => step)),
  );
  return [...new Set(steps)].sort((a, b) => a - b);
}

function reuseFigures(name: string, views: readonly StageView[], explain: Explain): Markup {
  const rows: [measure: string, unit: string, field: string, of: (stage: ReportStage) => number | null][] = [
    ["Duplicated gradient uses", "count", "duplicates.total", ({ structure }) => structure.duplicates.total],
    [
      "The same, counted by channels",
      "count",
      "duplicates.weightedByChannels",
      ({ structure }) => structure.duplicates.weightedByChannels,
    ],
    [
      "Pairs of weights across the two sides",
      "count",
      "duplicates.acrossSides",
      ({ structure }) => structure.duplicates.acrossSides,
    ],
    [
      "Duplicate gradient bytes per image",
      "bytes",
      "duplicateBytes",
      ({ structure }) => structure.duplicateBytes,
    ],
  ];
  return table({
    caption: `Reuse in ${name}, counted on the graph`,
    fileName: `${slug(name)}-reuse`,
    attributes: { class: "compact" },
    head: element(
      "tr",
      {},
      heading("col", "Measure"),
      views.map(({ variant }) => heading("col", variant, { class: "n" })),
    ),
    body: rows.map(([measure, unit, field, of]) => {
      const scale = scaleFor(
        unit,
        views.map(({ stage }) => of(stage)),
      );
      return element(
        "tr",
        {},
        measureHeading(measure, unit, scale),
        views.map(({ stage, path }) => numberCell(of(stage), scale, explain(`${path}.structure.${field}`))),
      );
    }),
  });
}
