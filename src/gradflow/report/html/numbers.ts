/**
 * Numbers on the page. Each is printed for people and carries its exact value in `data-value`, which sorting and
 * the CSV download read; a number that was not measured is a marked gap with its reason, never a 0.
 */

import { gapReason } from "../derive.ts";
import { formatValue, notMeasured, type Scale } from "../format.ts";
import type { GradientReuseReport } from "../schema.ts";
import { type Attributes, type Content, element, type Markup } from "./markup.ts";

/** Explains a missing number, given its path in the report. */
export type Explain = (path: string) => string;

/** Explains missing numbers by the report's `gaps`. */
export function explainGaps(report: GradientReuseReport): Explain {
  return (path) => `not measured: ${gapReason(report, path) ?? "no reason given"}`;
}

/** Text of a number with a true minus sign. */
export function printed(text: string): string {
  return text.replace(/^-(?=[\d.])/, "−");
}

/** A number in running text, `12.34 MiB`. */
export function number(value: number | null, unit: string, why: string): Markup {
  if (value === null) return gap(why);
  return element(
    "data",
    { value, "data-value": value, title: String(value) },
    printed(formatValue(value, unit)),
  );
}

/** The mark of a number that was not measured. */
function gap(why: string): Markup {
  return element("abbr", { class: "gap", title: why }, notMeasured);
}

/** A table cell with one number under a shared scale; `below` is set small under it. */
export function numberCell(
  value: number | null,
  scale: Scale,
  why: string,
  attributes: Attributes = {},
  below?: Content,
): Markup {
  const common = { ...attributes, class: ["n", attributes.class].filter(Boolean).join(" ") };
  if (value === null) return element("td", { ...common, "data-text": "" }, gap(why), below);
  return element("td", { ...common, "data-value": value }, printed(scale.format(value)), below);
}

/**
 * The header cell of a row of numbers: the measure with the unit that its numbers are printed in. The CSV file holds
 * exact values, so there the unit is the plain one: bytes, not MiB.
 */
export function measureHeading(
  measure: string,
  unit: string,
  scale: Scale,
  shown: Content = measure,
): Markup {
  const plain = unit === "" || unit === "count" || unit === "ratio" ? measure : `${measure} (${unit})`;
  const label = scale.label !== "" && element("span", { class: "unit" }, ` (${scale.label})`);
  return element("th", { scope: "row", "data-text": plain }, shown, label);
}

/** A table cell with a ratio (cosine, share) in three decimals. */
export function ratioCell(value: number | null, why: string): Markup {
  return numberCell(value, ratioScale, why);
}

const ratioScale: Scale = {
  label: "",
  format: (value) => (value === null ? notMeasured : value.toFixed(3).replace(/^-(0\.000)$/, "$1")),
};

/** A table cell with a number of unknown size in four digits. */
export const freeScale = (format: (value: number | null) => string): Scale => ({ label: "", format });
