/** What the networks are, what they cost and how often they are right, straight from the report. */

import { type Scale, scaleFor } from "../format.ts";
import type { GradientReuseReport, ReportVariant } from "../schema.ts";
import { isMany } from "./context.ts";
import { heading, table } from "./figure.ts";
import { type Content, element, type Markup } from "./markup.ts";
import { type Explain, measureHeading, number, numberCell } from "./numbers.ts";

interface Property {
  readonly name: string;
  readonly unit: string;
  readonly path: string;
  readonly of: (variant: ReportVariant) => number | null | undefined;
}

const properties: readonly Property[] = [
  {
    name: "Growth rate",
    unit: "count",
    path: "architecture.growthRate",
    of: (v) => v.architecture.growthRate,
  },
  {
    name: "Partial ratio γ",
    unit: "ratio",
    path: "architecture.partialRatio",
    of: (v) => v.architecture.partialRatio,
  },
  { name: "Parameters", unit: "count", path: "cost.parameters", of: (v) => v.cost.parameters },
  {
    name: "Operations per image",
    unit: "FLOPs",
    path: "cost.flopsPerImage",
    of: (v) => v.cost.flopsPerImage,
  },
  {
    name: "Convolution input and output (CIO)",
    unit: "elements",
    path: "cost.convInputOutput",
    of: (v) => v.cost.convInputOutput,
  },
  { name: "Peak memory", unit: "bytes", path: "cost.peakBytes", of: (v) => v.cost.peakBytes },
  { name: "Time per step", unit: "ms", path: "cost.stepMilliseconds", of: (v) => v.cost.stepMilliseconds },
  { name: "Throughput", unit: "images/s", path: "cost.imagesPerSecond", of: (v) => v.cost.imagesPerSecond },
  { name: "Test accuracy", unit: "fraction", path: "accuracy.test", of: (v) => v.accuracy.test },
  { name: "Training accuracy", unit: "fraction", path: "accuracy.train", of: (v) => v.accuracy.train },
  {
    name: "Test images classified right",
    unit: "count",
    path: "accuracy.correct",
    of: (v) => v.accuracy.correct,
  },
  { name: "Test images", unit: "count", path: "accuracy.testImages", of: (v) => v.accuracy.testImages },
];

const texts: readonly [name: string, of: (variant: ReportVariant) => Content][] = [
  ["Description", (variant) => variant.description],
  [
    "Dense layers per stage",
    ({ architecture }) =>
      architecture.blocks.map((block, i) => [i === 0 ? "" : ", ", number(block, "count", "")]),
  ],
  ["Fusion", ({ architecture }) => architecture.fusion ?? "–"],
];

/** Many networks, one a row. */
function manyNetworks({ variants }: GradientReuseReport, explain: Explain): Markup {
  const scales = properties.map(({ unit, of }) =>
    scaleFor(
      unit,
      variants.map((variant) => of(variant) ?? null),
    ),
  );
  return table({
    caption: "The networks: architecture, cost, accuracy",
    fileName: "networks",
    attributes: { class: "rows" },
    head: element(
      "tr",
      {},
      heading("col", "Network"),
      texts.map(([name]) => heading("col", name)),
      properties.map(({ name, unit }, i) => {
        const plain = unit === "count" || unit === "ratio" ? name : `${name} (${unit})`;
        const label = scales[i].label;
        return heading("col", label === "" ? name : `${name} (${label})`, { class: "n", "data-text": plain });
      }),
    ),
    body: variants.map((variant, v) =>
      element(
        "tr",
        {},
        heading("row", variant.name),
        texts.map(([, of]) => element("td", {}, of(variant))),
        properties.map((property, i) => propertyCell(property, variant, v, scales[i], explain)),
      ),
    ),
  });
}

function propertyCell(
  { of, path }: Property,
  variant: ReportVariant,
  v: number,
  scale: Scale,
  explain: Explain,
): Markup {
  const value = of(variant);
  if (value === undefined) return element("td", { class: "n" }, "–");
  return numberCell(value, scale, explain(`variants[${v}].${path}`), { title: value ?? undefined });
}

/** The table of the networks: a column each, or with many a row each. */
export function networks(report: GradientReuseReport, explain: Explain): Markup {
  if (isMany(report)) return manyNetworks(report, explain);
  const { variants } = report;
  return table({
    caption: "The networks: architecture, cost, accuracy",
    fileName: "networks",
    head: element(
      "tr",
      {},
      heading("col", "Property"),
      variants.map((variant) => heading("col", variant.name, { class: "n" })),
    ),
    body: [
      texts.map(([name, of]) =>
        element(
          "tr",
          {},
          heading("row", name),
          variants.map((variant) => element("td", { class: "text" }, of(variant))),
        ),
      ),
      properties.map((property) => {
        const { name, unit, of } = property;
        const scale = scaleFor(
          unit,
          variants.map((variant) => of(variant) ?? null),
        );
        return element(
          "tr",
          {},
          measureHeading(name, unit, scale),
          variants.map((variant, v) => propertyCell(property, variant, v, scale, explain)),
        );
      }),
    ],
  });
}
