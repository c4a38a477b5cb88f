/**
 * Every sampled number in tables: of the pieces at a feature map, and of a whole stage, seed by seed. Here are their
 * heads; their rows are made by the script from the report that the page carries.
 */

import type { ReportMeasuredPieces, ReportVariant } from "../schema.ts";
import type { PageContext } from "./context.ts";
import { foldedTable, heading, slug } from "./figure.ts";
import { element, type Markup } from "./markup.ts";
import type { Parts } from "./parts.ts";
import type { StageView } from "./structure.ts";
import { symbolHtml, symbolPlain } from "./typeset.ts";

/** Every sampled number of a network's stage, one folded table per feature map. */
export function sampleTables({ variant, stage, scope }: StageView, { parts }: PageContext): Markup {
  return element(
    "div",
    { class: "folded" },
    stage.measured.map((pieces, m) =>
      sampleTable(variant, stage.name, pieces, `pieces ${scope} ${m}`, parts),
    ),
  );
}

function sampleTable(
  variant: string,
  stageName: string,
  { featureMap, consumers, samples }: ReportMeasuredPieces,
  rows: string,
  parts: Parts,
): Markup {
  const pairs = consumers.flatMap((_, a) =>
    consumers.slice(a + 1).map((__, offset) => [a, a + 1 + offset] as const),
  );
  const hasCka = samples.some(({ weightCka }) =>
    weightCka.some((row) => row.some((value) => value !== null)),
  );
  const ckaPairs = hasCka ? pairs : [];
  const name = (index: number) => symbolHtml(consumers[index] ?? "");
  const head = [
    heading("col", "Step", { class: "n" }),
    consumers.map((_, i) => heading("col", ["norm ", name(i)], { class: "n" })),
    pairs.map(([a, b]) => heading("col", ["cos ", name(a), ", ", name(b)], { class: "n" })),
    ckaPairs.map(([a, b]) => heading("col", ["CKA ", name(a), ", ", name(b)], { class: "n" })),
    ["shared energy", "first-direction share", "effective rank"].map((text) =>
      heading("col", text, { class: "n" }),
    ),
  ];
  return foldedTable(parts, ["Numbers: ", variant, ", pieces at ", symbolHtml(featureMap)], {
    caption: [
      "Gradient pieces at ",
      symbolHtml(featureMap),
      ` of ${variant}, ${stageName}, at every sampled step`,
    ],
    fileName: `${slug(variant)}-${slug(stageName)}-pieces-${slug(symbolPlain(featureMap))}`,
    attributes: { "data-rows": rows },
    head: element("tr", {}, head),
    body: undefined,
  });
}

/** In the order of the script's `figureFields`. */
const stageFigures = [
  "cosine",
  "energy ratio",
  "first-direction share",
  "rank share",
  "weight CKA",
  "norm",
  "side correlation",
  "side CKA",
];

/** The figures of a whole stage at every sampled step, one folded table per seed. */
export function stageSampleTables(
  variant: ReportVariant,
  v: number,
  stage: string,
  { parts }: PageContext,
): Markup[] {
  const runs = variant.seeds ?? [variant];
  return runs.flatMap((run, r): Markup[] => {
    const s = run.stages.findIndex(({ name }) => name === stage);
    const samples = run.stages[s]?.samples ?? [];
    if (samples.length === 0) return [];
    const seed = "seed" in run ? `, seed ${run.seed}` : "";
    return [
      foldedTable(parts, `Numbers: ${stage} of ${variant.name}${seed}`, {
        caption: `Mean over the feature maps of ${stage} of ${variant.name}${seed}, at every sampled step`,
        fileName: `${slug(variant.name)}-${slug(stage)}-figures${slug(seed) === "unnamed" ? "" : `-${slug(seed)}`}`,
        head: element("tr", {}, [
          heading("col", "Step", { class: "n" }),
          stageFigures.map((title) => heading("col", title, { class: "n" })),
        ]),
        attributes: { "data-rows": `figures ${v} ${s}${"seed" in run ? ` ${r}` : ""}` },
        body: undefined,
      }),
    ];
  });
}
