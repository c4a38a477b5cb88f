/** How every figure was computed, what was run on what, and what was not measured. */

import { formatNumber, formatValue } from "../format.ts";
import type { GradientReuseReport } from "../schema.ts";
import { heading, table } from "./figure.ts";
import { type Content, element, type Markup } from "./markup.ts";
import { networks } from "./networksTable.ts";
import { type Explain, freeScale, number, numberCell } from "./numbers.ts";

/** Figures that the page computes itself; the report's own methods follow them. */
const computedHere = [
  {
    figure: "mean cosine",
    definition:
      "Mean over the distinct pairs of pieces at one feature map; over a stage, the mean over its feature maps.",
    reference: "",
  },
  {
    figure: "curves and bands",
    definition:
      "A line is the mean over a network's seeds, its band goes from the lowest to the highest of them. From 60 recorded " +
      "steps on, training curves are moving means of each seed, and a chart draws 80 to 500 points of them; tables and " +
      "files have every step.",
    reference: "",
  },
  {
    figure: "mean cosine with the map's other pieces",
    definition:
      "Under a diagram: mean cosine of the piece that one weight's layer sends to a feature map with the pieces of the " +
      "other layers that read it, at the sampled step that the heat maps show.",
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
