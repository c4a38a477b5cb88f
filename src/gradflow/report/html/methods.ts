/** How every figure was computed, what was run on what, and what was not measured. */

import { formatNumber, formatValue, type Scale, scaleFor } from "../format.ts";
import type { GradientReuseReport, ReportVariant } from "../schema.ts";
import { isMany } from "./context.ts";
import { heading, table } from "./figure.ts";
import { type Content, element, type Markup } from "./markup.ts";
import { type Explain, freeScale, measureHeading, number, numberCell } from "./numbers.ts";

/** Figures that the page computes itself; the report's own methods follow them. */
const computedHere = [
  {
    figure: "mean cosine",
    definition:
      "Mean over the distinct pairs of pieces at one feature map; over a stage, the mean over its feature maps.",
    reference: "",
  },
  {
    figure: "95 % interval of an accuracy difference",
    definition:
      "Newcombe's interval from two Wilson score intervals over the test images, taken as independent: careful for two " +
      "networks tested on the same images. It holds the trained networks fixed and says nothing about other seeds.",
    reference: "Newcombe, Statistics in Medicine 17 (1998)",
  },
  {
    figure: "change",
    definition:
      "Value divided by the first network's value, minus 1; for shares, the plain difference in percentage points (pp).",
    reference: "",
  },
];

function methodId(index: number): string {
  return `method-${index + 1}`;
}

/** A measure's name, linked to how it was computed where the report says so. */
export function linkedMeasure({ methods }: GradientReuseReport, measure: string): Content {
  const index = methods.findIndex(({ figure }) => figure.toLowerCase() === measure.toLowerCase());
  return index < 0 ? measure : element("a", { href: `#${methodId(index)}` }, measure);
}

export function methodsSection(report: GradientReuseReport, explain: Explain): Markup {
  return element(
    "section",
    { id: "methods" },
    element("h2", {}, "Methods"),
    element("h3", {}, "How each figure was computed"),
    element(
      "dl",
      { class: "methods" },
      [...report.methods, ...computedHere].map(({ figure, definition, reference }, index) => [
        element("dt", { id: methodId(index) }, figure),
        element(
          "dd",
          {},
          definition,
          reference === "" ? undefined : element("span", { class: "small" }, ` ${reference}`),
        ),
      ]),
    ),
    element("h3", {}, "The networks"),
    networks(report, explain),
    element("h3", {}, "The run"),
    run(report, explain),
    report.gaps.length === 0 ? undefined : gaps(report),
  );
}

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

function networks(report: GradientReuseReport, explain: Explain): Markup {
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

function run({ meta }: GradientReuseReport, explain: Explain): Markup {
  const { dataset, sampling, machine } = meta;
  const facts: [string, Content][] = [
    ["Command", element("code", {}, meta.command)],
    [
      "Data",
      [
        dataset.name,
        ": ",
        number(dataset.trainImages, "count", ""),
        " training images, ",
        number(dataset.testImages, "count", ""),
        " test images",
      ],
    ],
    [
      meta.seeds && meta.seeds.length > 1 ? "Seeds" : "Seed",
      (meta.seeds ?? [meta.seed]).map((seed, i) => [i === 0 ? "" : ", ", number(seed, "count", "")]),
    ],
    [
      "Machine",
      [
        machine.cpu,
        ", ",
        number(machine.threads, "count", ""),
        machine.threads === 1 ? " thread" : " threads",
      ],
    ],
    [
      "Sampling of gradient pieces",
      [
        "every ",
        number(sampling.everySteps, "count", ""),
        " steps, ",
        number(sampling.imagesPerSample, "count", ""),
        " images; overhead ",
        number(sampling.overheadFraction, "fraction", explain("meta.sampling.overheadFraction")),
        " of the training time",
      ],
    ],
  ];
  const settings = Object.entries(meta.settings).sort(([a], [b]) => (a < b ? -1 : 1));
  return table({
    caption: "What was run",
    fileName: "run",
    attributes: { class: "facts" },
    head: element("tr", {}, heading("col", "Setting"), heading("col", "Value")),
    body: [
      facts.map(([name, value]) => element("tr", {}, heading("row", name), element("td", {}, value))),
      settings.map(([name, value]) =>
        element(
          "tr",
          {},
          heading("row", element("code", {}, name)),
          typeof value === "number"
            ? numberCell(
                value,
                freeScale((one) => (one === null ? "" : shortest(one))),
                "",
                { class: "left" },
              )
            : element("td", {}, String(value)),
        ),
      ),
    ],
  });
}

/** Settings are printed as they were given: `0.1`, not `0.1000`. */
function shortest(value: number): string {
  const text = String(value);
  return text.length > 8 ? formatNumber(value) : Number.isInteger(value) ? formatValue(value, "count") : text;
}

function gaps({ gaps: list }: GradientReuseReport): Markup {
  return element(
    "div",
    {},
    element("h3", {}, "Not measured"),
    element(
      "dl",
      { class: "methods" },
      list.map(({ path, reason }) => [
        element("dt", {}, element("code", {}, path)),
        element("dd", {}, reason),
      ]),
    ),
  );
}
