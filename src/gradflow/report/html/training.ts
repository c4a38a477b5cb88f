/** Loss and accuracy over training, one line per network, with the numbers behind them. */

import { mean } from "../derive.ts";
import { formatNumber, scaleFor } from "../format.ts";
import type { GradientReuseReport, ReportVariant } from "../schema.ts";
import { foldedTable, heading, slug, svgFigure } from "./figure.ts";
import { lineChart, type Series } from "./lineChart.ts";
import { element, type Markup } from "./markup.ts";
import { type Explain, freeScale, numberCell } from "./numbers.ts";

/** From this many points on, a curve is drawn as a moving mean over its faint raw values. */
const smoothFrom = 60;

export function trainingSection(report: GradientReuseReport, explain: Explain): Markup {
  const window = Math.max(...report.variants.map(smoothingWindow));
  const smoothing =
    window === 1
      ? "Every recorded step is drawn."
      : `Faint: every recorded step. Bold: moving mean over ${window} recorded steps.`;
  return element(
    "section",
    { id: "training" },
    element("h2", {}, "Training"),
    element(
      "div",
      { class: "grid thirds" },
      svgFigure(
        "training-loss",
        `Training loss of each step's own batch. ${smoothing}`,
        lineChart({
          title: "Training loss",
          description: report.variants.map(lossWords).join(" "),
          yLabel: "loss",
          series: curveSeries(report.variants, (variant) => variant.curves.loss),
        }),
      ),
      svgFigure(
        "training-accuracy",
        `Accuracy on each step's own batch. ${smoothing}`,
        lineChart({
          title: "Training accuracy",
          description: "Accuracy on the training batches over the steps.",
          yLabel: "training accuracy (%)",
          series: curveSeries(report.variants, (variant) => variant.curves.trainAccuracy.map(percent)),
        }),
      ),
      svgFigure(
        "test-accuracy",
        "Accuracy on the test images, where it was evaluated.",
        lineChart({
          title: "Test accuracy",
          description: "Accuracy on the test images over the steps.",
          yLabel: "test accuracy (%)",
          series: report.variants.map(
            (variant, style): Series => ({
              label: variant.name,
              style,
              kind: "marks",
              points: variant.curves.evaluations.map(({ step, testAccuracy }) => ({
                x: step,
                y: percent(testAccuracy),
              })),
            }),
          ),
        }),
      ),
    ),
    report.variants.map((variant, index) => curveTables(variant, index, explain)),
  );
}

function curveSeries(
  variants: readonly ReportVariant[],
  pick: (variant: ReportVariant) => readonly (number | null)[],
): Series[] {
  return variants.flatMap((variant, style): Series[] => {
    const values = pick(variant);
    const points = variant.curves.step.map((x, i) => ({ x, y: values[i] ?? null }));
    const window = smoothingWindow(variant);
    if (window === 1) return [{ label: variant.name, style, points }];
    const half = (window - 1) / 2;
    const smooth = points.map(({ x }, i) => ({
      x,
      y: mean(values.slice(Math.max(0, i - half), i + half + 1)),
    }));
    return [
      { label: variant.name, style, points, kind: "faint" },
      { label: variant.name, style, points: smooth },
    ];
  });
}

/** Points in the moving mean, an odd number; 1 leaves the curve as it is. */
function smoothingWindow({ curves }: ReportVariant): number {
  return curves.step.length < smoothFrom ? 1 : 2 * Math.round(curves.step.length / 50) + 1;
}

function lossWords({ name, curves }: ReportVariant): string {
  return `${name}: from ${formatNumber(curves.loss[0] ?? null)} to ${formatNumber(curves.loss.at(-1) ?? null)}.`;
}

function percent(fraction: number | null): number | null {
  return fraction === null ? null : fraction * 100;
}

function curveTables({ name, curves }: ReportVariant, index: number, explain: Explain): Markup {
  const path = (field: string, i: number) => explain(`variants[${index}].curves.${field}[${i}]`);
  const share = scaleFor("fraction", [1]);
  const steps = scaleFor("count", []);
  return element(
    "div",
    { class: "folded" },
    foldedTable(`Numbers: training of ${name}`, {
      caption: `Loss and accuracy of every recorded step of ${name}`,
      fileName: `${slug(name)}-training`,
      head: element("tr", {}, [
        heading("col", "Step", { class: "n" }),
        heading("col", "Loss", { class: "n" }),
        heading("col", "Training accuracy (%)", { class: "n", "data-text": "Training accuracy (fraction)" }),
      ]),
      body: curves.step.map((step, i) =>
        element(
          "tr",
          {},
          numberCell(step, steps, ""),
          numberCell(curves.loss[i] ?? null, freeScale(formatNumber), path("loss", i)),
          numberCell(curves.trainAccuracy[i] ?? null, share, path("trainAccuracy", i)),
        ),
      ),
    }),
    foldedTable(`Numbers: evaluations of ${name}`, {
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
          numberCell(testAccuracy, share, path("evaluations", i)),
        ),
      ),
    }),
  );
}
