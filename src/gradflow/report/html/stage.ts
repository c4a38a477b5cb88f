/** A stage of every network, side by side: diagram, reuse, equations, paths, and what was measured on it. */

import { scaleFor } from "../format.ts";
import type { GradientReuseReport, ReportStage } from "../schema.ts";
import type { PageContext } from "./context.ts";
import { heading, slug, svgFigure, table } from "./figure.ts";
import { heatLegend } from "./heatMap.ts";
import { type Content, element, type Markup } from "./markup.ts";
import { measureHeading, numberCell } from "./numbers.ts";
import { stageId } from "./overview.ts";
import { sampleTables, stageSampleTables } from "./sampleTables.ts";
import { heatMaps, sideCorrelation, similarityCharts } from "./similarity.ts";
import { diagramScale, isWide, stageDiagram } from "./stageDiagram.ts";
import { equations, matrixLegend, reuseMatrix, type StageView, structureTables } from "./structure.ts";
import { indexSymbols } from "./symbolIndex.ts";

/** The stages' names over all networks, in order of first appearance. */
export function stageNames(report: GradientReuseReport): string[] {
  return [...new Set(report.variants.flatMap((variant) => variant.stages.map((stage) => stage.name)))];
}

/** The networks that have the stage called `name`. */
export function stageViews({ variants }: GradientReuseReport, name: string): StageView[] {
  return variants.flatMap((variant, v) =>
    variant.stages.flatMap((stage, s): StageView[] => {
      if (stage.name !== name) return [];
      const path = `variants[${v}].stages[${s}]`;
      return [
        { variant: variant.name, stage, index: indexSymbols(stage.structure), scope: `${v} ${s}`, path },
      ];
    }),
  );
}

/** The section of the stage called `name`, every network in it. */
export function stageSection(page: PageContext, name: string): Markup {
  const views = stageViews(page.report, name);
  return element(
    "section",
    { id: stageId(name, stageNames(page.report)), class: "stage" },
    element("h2", {}, name),
    stageContents(page, name, views, views, "h3"),
  );
}

/**
 * A stage of the networks in `views`, drawn on a scale that suits `all` networks: what is shown one after the other
 * can still be compared.
 */
export function stageContents(
  page: PageContext,
  name: string,
  views: readonly StageView[],
  all: readonly StageView[],
  headingName: "h3" | "h5",
): Content {
  const scale = diagramScale(all.map(({ stage }) => stage.structure));
  const beside = (draw: (view: StageView) => Content) => element("div", { class: "grid" }, views.map(draw));
  const title = (text: string) => element(headingName, {}, text);
  const isMeasured = views.some(({ stage }) => stage.measured.length > 0);
  const diagram = ({ variant, stage, index, scope }: StageView) =>
    svgFigure(
      `${slug(variant)}-${slug(name)}-diagram`,
      `${variant}, ${name}`,
      stageDiagram(`${variant}, ${name}`, stage.structure, index, scale),
      { "data-scope": scope },
      element("div", {
        class: "readout",
        tabindex: 0,
        role: "group",
        "aria-label": "Figures of what is picked in the diagram",
        "aria-live": "polite",
      }),
    );
  return [
    reuseFigures(name, views, page),
    title("The stage and its gradients"),
    element(
      "p",
      { class: "how" },
      "Boxes are feature maps with their channels, circles the layers that write them. Arcs above: what a layer reads. " +
        "Arcs below: the piece of gradient that it sends back, as wide as the map has channels. Point at, tap or tab to a layer " +
        "or a map to light the gradients that belong to it, with their figures below.",
    ),
    element("div", { class: isWide(scale) ? "stack" : "grid" }, views.map(diagram)),
    title("Reuse matrix"),
    element(
      "p",
      { class: "how" },
      "The weight update equations as a matrix: a mark where the gradient updates the weight.",
    ),
    matrixLegend(),
    beside(reuseMatrix),
    title("Equations"),
    element(
      "p",
      { class: "how" },
      "Derived from the traced graph. ∗ is a layer, […] concatenation, f the weight update. ",
      element("mark", {}, "Marked"),
      " gradients update more than one weight.",
    ),
    beside(equations),
    title("Gradient paths"),
    element(
      "p",
      { class: "how" },
      "Directed paths from the end of the stage back to each feature map: how many, and their shortest and longest length in layers. Size is height × width; reuse is the number of weights that the map's gradient updates.",
    ),
    beside((view) => structureTables(view, page)),
    isMeasured ? similarity(page, views, all, title) : undefined,
    views.map((view) => {
      const v = page.report.variants.findIndex((variant) => variant.name === view.variant);
      return element("div", { class: "folded" }, stageSampleTables(page.report.variants[v], v, name, page));
    }),
  ];
}

/** What was measured on the pieces of a stage. */
function similarity(
  page: PageContext,
  views: readonly StageView[],
  all: readonly StageView[],
  title: (text: string) => Markup,
): Content {
  const beside = (draw: (view: StageView) => Content) => element("div", { class: "grid" }, views.map(draw));
  return [
    title("Similarity of the pieces"),
    element(
      "p",
      { class: "how" },
      "Cosine between the pieces of gradient that different layers send to the same feature map: 1 is the same " +
        "direction, 0 none in common.",
    ),
    element("div", { class: "heat-group" }, heatControls(views), beside(heatMaps)),
    title("Similarity over training"),
    element(
      "p",
      { class: "how" },
      "A line per feature map that receives two pieces or more; every network on the same scale.",
    ),
    beside((view) => similarityCharts(view, all)),
    sideCorrelation(views, page, title),
    views.map((view) => sampleTables(view, page)),
  ];
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
    hasCka(views) &&
      element(
        "label",
        { class: "slider", hidden: true },
        "Shown ",
        element(
          "select",
          { "data-matrix": true },
          element("option", { value: "cosine" }, "cosine between the pieces"),
          element("option", { value: "weightCka" }, "CKA between the weights' gradients"),
        ),
      ),
    element(
      "span",
      { class: "shown-step" },
      steps.length === 0 ? "No step was sampled." : `Shown: step ${steps.at(-1)}.`,
    ),
  );
}

function hasCka(views: readonly StageView[]): boolean {
  const samples = views.flatMap(({ stage }) => stage.measured.flatMap((pieces) => pieces.samples));
  return samples.some(({ weightCka }) => weightCka.some((row) => row.some((value) => value !== null)));
}

function longestSteps(stages: readonly ReportStage[]): number[] {
  const steps = stages.flatMap((stage) =>
    stage.measured.flatMap(({ samples }) => samples.map(({ step }) => step)),
  );
  return [...new Set(steps)].sort((a, b) => a - b);
}

function reuseFigures(name: string, views: readonly StageView[], { explain }: PageContext): Markup {
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
