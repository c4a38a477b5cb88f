/** Loss and accuracy over training, one line per network with a band over its seeds, and the numbers behind them. */

import { formatNumber, scaleFor } from "../format.ts";
import type { ReportVariant } from "../schema.ts";
import { isMany, type PageContext } from "./context.ts";
import { curvesOfRuns, overRuns, type Run, smoothingWindow, thinned } from "./curves.ts";
import { foldedTable, heading, slug, svgFigure, table } from "./figure.ts";
import { chartSize, lineChart, type Series } from "./lineChart.ts";
import { element, type Markup } from "./markup.ts";
import { numberCell } from "./numbers.ts";

type Curves = ReportVariant["curves"];

export function trainingSection(page: PageContext): Markup {
  const { variants } = page.report;
  const many = isMany(page.report);
  const window = Math.max(...variants.map(({ curves }) => smoothingWindow(curves.step.length)));
  const seeds = Math.max(...variants.map((variant) => variant.seeds?.length ?? 1));
  const line = seeds > 1 ? `mean of ${seeds} seeds` : "one run";
  const smoothing =
    window === 1
      ? `Every recorded step, ${line}.`
      : `Moving mean over ${window} recorded steps, ${line}${seeds > 1 || many ? "" : "; faint: the steps themselves"}.`;
  const band = seeds > 1 ? " Band: from the lowest to the highest seed." : "";
  const curve = (pick: (curves: Curves) => readonly (number | null)[]) => curveSeries(variants, pick, many);
  return element(
    "section",
    { id: "training" },
    element("h2", {}, "Training"),
    variantKeys(page),
    element(
      "div",
      { class: many ? "grid" : "grid thirds" },
      svgFigure(
        "training-loss",
        `Training loss of each step's own batch. ${smoothing}${band}`,
        lineChart({
          title: "Training loss",
          description: many
            ? "The exact numbers stand in the tables below."
            : variants.map(lossWords).join(" "),
          yLabel: "loss",
          series: curve(({ loss }) => loss),
          ...chartSize(many, variants.length),
        }),
      ),
      svgFigure(
        "training-accuracy",
        `Accuracy on each step's own batch. ${smoothing}${band}`,
        lineChart({
          title: "Training accuracy",
          description: "Accuracy on the training batches over the steps.",
          yLabel: "training accuracy (%)",
          series: curve(({ trainAccuracy }) => trainAccuracy.map(percent)),
          ...chartSize(many, variants.length),
        }),
      ),
      // A single evaluation makes no curve: with many networks the summary draws it with its intervals.
      many && variants.every(({ curves }) => curves.evaluations.length < 2)
        ? undefined
        : svgFigure(
            "test-accuracy",
            `Accuracy on the test images, where it was evaluated.${band}`,
            lineChart({
              title: "Test accuracy",
              description: "Accuracy on the test images over the steps.",
              yLabel: "test accuracy (%)",
              series: variants.map(
                (variant, style): Series => ({
                  label: variant.name,
                  ...{ style, variant: style, kind: "marks" },
                  points: overRuns(
                    curvesOfRuns(variant).map(({ evaluations }) => ({
                      steps: evaluations.map(({ step }) => step),
                      values: evaluations.map(({ testAccuracy }) => percent(testAccuracy)),
                    })),
                  ),
                }),
              ),
              ...chartSize(many, variants.length),
            }),
          ),
    ),
    many
      ? undefined
      : element(
          "div",
          { class: "folded" },
          variants.map((variant, v) => curveTables(page, variant, v)),
        ),
  );
}

/** Where the script puts a box to tick for every network: which of them the charts show. */
function variantKeys({ report }: PageContext): Markup | undefined {
  return isMany(report) ? element("div", { class: "variant-keys" }) : undefined;
}

function curveSeries(
  variants: readonly ReportVariant[],
  pick: (curves: Curves) => readonly (number | null)[],
  many: boolean,
): Series[] {
  return variants.flatMap((variant, style): Series[] => {
    const runs = curvesOfRuns(variant).map((curves): Run => ({ steps: curves.step, values: pick(curves) }));
    const common = { label: variant.name, style, variant: style };
    const line: Series = { ...common, points: overRuns(runs, many ? 80 : 200) };
    const [run] = runs;
    if (many || runs.length > 1 || smoothingWindow(run.values.length) === 1) return [line];
    const raw = run.steps.map((x, i) => ({ x, y: run.values[i] ?? null }));
    return [{ ...common, kind: "faint", points: thinned(raw, 500) }, line];
  });
}

function lossWords({ name, curves }: ReportVariant): string {
  return `${name}: from ${formatNumber(curves.loss[0] ?? null)} to ${formatNumber(curves.loss.at(-1) ?? null)}.`;
}

function percent(fraction: number | null): number | null {
  return fraction === null ? null : fraction * 100;
}

/** Every recorded step of a network, folded away: a table for each of its seeds. */
export function curveTables(page: PageContext, variant: ReportVariant, v: number): Markup[] {
  if (!variant.seeds) return curveTable(page, variant.name, variant.curves, `variants[${v}].curves`, `${v}`);
  // The first seed's curves stand in the report twice; once is enough here.
  return variant.seeds.flatMap(({ seed, curves }, s) =>
    curveTable(
      page,
      `${variant.name}, seed ${seed}`,
      curves,
      `variants[${v}].seeds[${s}].curves`,
      `${v} ${s}`,
    ),
  );
}

/** The rows of the recorded steps are so many that the script makes them from the report when they are looked at. */
function curveTable(
  { parts, explain }: PageContext,
  name: string,
  curves: Curves,
  path: string,
  address: string,
): Markup[] {
  const why = (field: string, i: number) => explain(`${path}.${field}[${i}]`);
  const share = scaleFor("fraction", [1]);
  const steps = scaleFor("count", []);
  return [
    parts.folded(
      `Numbers: training of ${name}`,
      table({
        caption: `Loss and accuracy of every recorded step of ${name}`,
        fileName: `${slug(name)}-training`,
        attributes: { "data-rows": `curves ${address}` },
        head: element("tr", {}, [
          heading("col", "Step", { class: "n" }),
          heading("col", "Loss", { class: "n" }),
          heading("col", "Training accuracy (%)", {
            class: "n",
            "data-text": "Training accuracy (fraction)",
          }),
        ]),
        body: undefined,
      }),
    ),
    foldedTable(parts, `Numbers: evaluations of ${name}`, {
      caption: `Test accuracy of ${name} at every evaluation`,
      fileName: `${slug(name)}-evaluations`,
      head: element("tr", {}, [
        heading("col", "Step", { class: "n" }),
        heading("col", "Test accuracy (%)", { class: "n", "data-text": "Test accuracy (fraction)" }),
      ]),
      body: curves.evaluations.map(({ step, testAccuracy }, i) =>
        element(
          "tr",
          {},
          numberCell(step, steps, ""),
          numberCell(testAccuracy, share, why("evaluations", i)),
        ),
      ),
    }),
  ];
}
