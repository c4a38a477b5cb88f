/** Every sampled number in tables: of the pieces at a feature map, and of a whole stage, seed by seed. */

import { formatNumber, formatRatio, scaleFor } from "../format.ts";
import type { ReportMeasuredPieces, ReportStageSample, ReportVariant } from "../schema.ts";
import type { PageContext } from "./context.ts";
import { foldedTable, heading, slug } from "./figure.ts";
import { element, type Markup } from "./markup.ts";
import { freeScale, numberCell, ratioCell } from "./numbers.ts";
import type { StageView } from "./structure.ts";
import { symbolHtml, symbolPlain } from "./typeset.ts";

const steps = scaleFor("count", []);

/** Every sampled number of a network's stage, one folded table per feature map. */
export function sampleTables({ variant, stage, path }: StageView, page: PageContext): Markup {
  return element(
    "div",
    { class: "folded" },
    stage.measured.map((pieces, m) =>
      sampleTable(variant, stage.name, pieces, `${path}.measured[${m}]`, page),
    ),
  );
}

function sampleTable(
  variant: string,
  stageName: string,
  { featureMap, consumers, samples }: ReportMeasuredPieces,
  path: string,
  { explain, parts }: PageContext,
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
    head: element("tr", {}, head),
    body: samples.map((sample, i) => {
      const why = explain(`${path}.samples[${i}]`);
      return element(
        "tr",
        {},
        numberCell(sample.step, steps, why),
        sample.norms.map((norm) => numberCell(norm, freeScale(formatNumber), why)),
        pairs.map(([a, b]) => ratioCell(sample.cosine[a]?.[b] ?? null, why)),
        ckaPairs.map(([a, b]) => ratioCell(sample.weightCka[a]?.[b] ?? null, why)),
        ratioCell(sample.sharedEnergy, why),
        ratioCell(sample.firstDirectionShare, why),
        numberCell(sample.effectiveRank, freeScale(formatRatio), why),
      );
    }),
  });
}

const stageFigures: readonly [keyof ReportStageSample, string][] = [
  ["cosine", "cosine"],
  ["energyRatio", "energy ratio"],
  ["firstDirectionShare", "first-direction share"],
  ["rankShare", "rank share"],
  ["weightCka", "weight CKA"],
  ["norm", "norm"],
  ["sideCorrelation", "side correlation"],
  ["sideCka", "side CKA"],
];

/** The figures of a whole stage at every sampled step, one folded table per seed. */
export function stageSampleTables(
  variant: ReportVariant,
  v: number,
  stage: string,
  { explain, parts }: PageContext,
): Markup[] {
  const runs = variant.seeds ?? [variant];
  return runs.flatMap((run, r): Markup[] => {
    const s = run.stages.findIndex(({ name }) => name === stage);
    const samples = run.stages[s]?.samples ?? [];
    if (samples.length === 0) return [];
    const seed = "seed" in run ? `, seed ${run.seed}` : "";
    const path = `variants[${v}]${"seed" in run ? `.seeds[${r}]` : ""}.stages[${s}]`;
    return [
      foldedTable(parts, `Numbers: ${stage} of ${variant.name}${seed}`, {
        caption: `Mean over the feature maps of ${stage} of ${variant.name}${seed}, at every sampled step`,
        fileName: `${slug(variant.name)}-${slug(stage)}-figures${slug(seed) === "unnamed" ? "" : `-${slug(seed)}`}`,
        head: element("tr", {}, [
          heading("col", "Step", { class: "n" }),
          stageFigures.map(([, title]) => heading("col", title, { class: "n" })),
        ]),
        body: samples.map((sample, i) =>
          element(
            "tr",
            {},
            numberCell(sample.step, steps, ""),
            stageFigures.map(([figure]) =>
              numberCell(sample[figure], freeScale(formatNumber), explain(`${path}.samples[${i}].${figure}`)),
            ),
          ),
        ),
      }),
    ];
  });
}
