/** The comparison table: one row per measure, one column per network, sortable by any column. */

import { formatDifference, type Scale, scaleFor } from "../format.ts";
import type { GradientReuseReport, ReportComparisonRow } from "../schema.ts";
import type { PageContext } from "./context.ts";
import { heading, table } from "./figure.ts";
import { element, type Markup } from "./markup.ts";
import { linkedMeasure } from "./methods.ts";
import { type Explain, measureHeading, numberCell, printed } from "./numbers.ts";

const arrows = { higher: "↑ higher is better", lower: "↓ lower is better" };

export function comparisonSection({ report, explain }: PageContext): Markup {
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

/** The one best value of a row; undefined where no direction is better, or two share it. */
export function bestValue({ values, better }: ReportComparisonRow): number | undefined {
  const present = values.filter((value) => value !== null);
  if (better === null || present.length < 2) return undefined;
  const best = better === "higher" ? Math.max(...present) : Math.min(...present);
  return present.filter((value) => value === best).length === 1 ? best : undefined;
}

/** The cell of one network's value, its interval below. */
export function figureCell(
  { values, intervals }: ReportComparisonRow,
  variant: number,
  scale: Scale,
  best: number | undefined,
  why: string,
): Markup {
  const value = values[variant] ?? null;
  const interval = intervals?.[variant] ?? undefined;
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
  const isBest = value !== null && value === best;
  return numberCell(
    value,
    scale,
    why,
    { class: isBest ? "best" : undefined, title: value ?? undefined },
    below,
  );
}

function comparisonRow(
  report: GradientReuseReport,
  row: ReportComparisonRow,
  index: number,
  explain: Explain,
): Markup {
  const scale = scaleFor(row.unit, row.values);
  const base = row.values[0] ?? null;
  const best = bestValue(row);
  const arrow =
    row.better === null
      ? undefined
      : element("span", { class: "arrow", title: arrows[row.better] }, arrows[row.better].slice(0, 1));
  return element(
    "tr",
    {},
    measureHeading(row.measure, row.unit, scale, [linkedMeasure(report, row.measure), arrow && [" ", arrow]]),
    row.values.map((_, variant) =>
      figureCell(row, variant, scale, best, explain(`comparison[${index}].values[${variant}]`)),
    ),
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
