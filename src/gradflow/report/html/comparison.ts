/** The comparison table: one row per measure, one column per network, sortable by any column. */

import { formatDifference, scaleFor } from "../format.ts";
import type { GradientReuseReport, ReportComparisonRow } from "../schema.ts";
import { heading, table } from "./figure.ts";
import { element, type Markup } from "./markup.ts";
import { linkedMeasure } from "./methods.ts";
import { type Explain, measureHeading, numberCell, printed } from "./numbers.ts";

const arrows = { higher: "↑ higher is better", lower: "↓ lower is better" };

export function comparisonSection(report: GradientReuseReport, explain: Explain): Markup {
  const names = report.variants.map((variant) => variant.name);
  const changes = names.slice(1).map((name) => (names.length === 2 ? "Change" : `Change, ${name}`));
  return element(
    "section",
    { id: "comparison" },
    element("h2", {}, "Comparison"),
    element(
      "p",
      { class: "how" },
      "The networks side by side. ",
      element("strong", {}, "Bold"),
      ": the better value, where one direction is better (↑ higher, ↓ lower). Small print: 95 % interval. Change: ",
      `against ${names[0] ?? ""}, in percent or, for shares, in percentage points (pp). n/m: not measured.`,
    ),
    table({
      caption: "Exact values on hover and in the file",
      fileName: "comparison",
      attributes: { class: "comparison", "data-sortable": true },
      head: element(
        "tr",
        {},
        heading("col", "Measure"),
        [...names, ...changes].map((name) => heading("col", name, { class: "n" })),
        heading("col", "Note"),
      ),
      body: report.comparison.map((row, index) => comparisonRow(report, row, index, explain)),
    }),
  );
}

/** What the change column is sorted by and holds in the file: a difference of shares, else a share of the baseline. */
function changeOf(unit: string, base: number, value: number): number | undefined {
  if (unit === "fraction") return value - base;
  return base === 0 ? undefined : value / base - 1;
}

function comparisonRow(
  report: GradientReuseReport,
  row: ReportComparisonRow,
  index: number,
  explain: Explain,
): Markup {
  const scale = scaleFor(row.unit, row.values);
  const base = row.values[0] ?? null;
  const present = row.values.filter((value) => value !== null);
  const best = row.better === "higher" ? Math.max(...present) : Math.min(...present);
  const unique = present.length > 1 && present.filter((value) => value === best).length === 1;
  const arrow =
    row.better === null
      ? undefined
      : element("span", { class: "arrow", title: arrows[row.better] }, arrows[row.better].slice(0, 1));
  return element(
    "tr",
    {},
    measureHeading(row.measure, row.unit, scale, [linkedMeasure(report, row.measure), arrow && [" ", arrow]]),
    row.values.map((value, variant) => {
      const interval = row.intervals?.[variant] ?? undefined;
      const below =
        interval === undefined
          ? undefined
          : element(
              "span",
              { class: "interval" },
              interval.map((end, side) => [
                side === 0 ? "" : " to ",
                element("data", { value: end, "data-value": end }, printed(scale.format(end))),
              ]),
            );
      const isBest = row.better !== null && unique && value === best;
      const why = explain(`comparison[${index}].values[${variant}]`);
      return numberCell(
        value,
        scale,
        why,
        { class: isBest ? "best" : undefined, title: value ?? undefined },
        below,
      );
    }),
    row.values.slice(1).map((value) => {
      const change = base === null || value === null ? undefined : changeOf(row.unit, base, value);
      return element(
        "td",
        { class: "n", "data-value": change },
        printed(formatDifference(base, value, row.unit)),
      );
    }),
    element("td", { class: "note" }, row.note),
  );
}
