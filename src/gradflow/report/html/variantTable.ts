/** The comparison of many networks: one a row, sortable by every measure, the name staying in sight. */

import { scaleFor } from "../format.ts";
import type { ReportComparisonRow } from "../schema.ts";
import { bestValue, figureCell } from "./comparison.ts";
import type { PageContext } from "./context.ts";
import { heading, table } from "./figure.ts";
import { element, type Markup } from "./markup.ts";
import { linkedMeasure } from "./methods.ts";
import { variantId } from "./overview.ts";

/** The paper's columns; what the report measures besides stands in a second table. */
const first = new Set([
  "Test accuracy",
  "Parameters",
  "Operations per image",
  "CIO",
  "Peak memory",
  "Time per step",
  "Duplicate share",
  "Cosine between pieces",
  "Correlation between the sides",
]);

export function variantsComparison(page: PageContext): Markup {
  const { comparison, variants } = page.report;
  const indexed = comparison.map((row, index) => ({ row, index }));
  const [main, more] = [true, false].map((isFirst) =>
    indexed.filter(({ row }) => first.has(row.measure) === isFirst),
  );
  return element(
    "section",
    { id: "comparison" },
    element("h2", {}, "Comparison"),
    element(
      "p",
      { class: "how" },
      "One network a row; a column's title sorts by it. ",
      element("strong", {}, "Bold"),
      `: the best value, where one direction is better (↑ higher, ↓ lower). Small print: 95 % interval. The baseline is ${variants[0]?.name ?? "missing"}. n/m: not measured.`,
    ),
    measureTable(page, main, "The networks side by side", "comparison"),
    more.length === 0
      ? undefined
      : element("div", { class: "after" }, measureTable(page, more, "Further measures", "comparison-more")),
  );
}

function measureTable(
  page: PageContext,
  rows: readonly { row: ReportComparisonRow; index: number }[],
  caption: string,
  fileName: string,
): Markup {
  const { report, explain } = page;
  const scales = rows.map(({ row }) => scaleFor(row.unit, row.values));
  const best = rows.map(({ row }) => bestValue(row));
  return table({
    caption: `${caption}; exact values on hover and in the file`,
    fileName,
    attributes: { class: "comparison rows", "data-sortable": true },
    head: element(
      "tr",
      {},
      heading("col", "Network"),
      rows.map(({ row: { measure, unit, better, note } }, r) => {
        const plain = unit === "" || unit === "count" || unit === "ratio" ? measure : `${measure} (${unit})`;
        const arrow = better === null ? "" : better === "higher" ? " ↑" : " ↓";
        const label = scales[r].label;
        return heading("col", [linkedMeasure(report, measure), label === "" ? "" : ` (${label})`, arrow], {
          class: "n",
          title: note,
          "data-text": plain,
        });
      }),
    ),
    body: report.variants.map(({ name }, v) =>
      element(
        "tr",
        {},
        heading("row", element("a", { href: `#${variantId(v)}` }, name), { "data-text": name }),
        rows.map(({ row, index }, r) =>
          figureCell(row, v, scales[r], best[r], explain(`comparison[${index}].values[${v}]`)),
        ),
      ),
    ),
  });
}
