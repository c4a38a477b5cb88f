/**
 * The comparison with one variant a row, as the tables of papers have it: for many variants, where a column for each
 * would not fit. Once for a terminal, once as Markdown for a README.
 */
import { renderTable } from "../../text/table.ts";
import { notMeasured, scaleFor } from "./format.ts";
import { certainty, setting } from "./headlines.ts";
import type { GradientReuseReport, ReportComparisonRow } from "./schema.ts";

/** The measures that become columns, with a short title each; the others stay in the JSON. */
const shortTitles: Readonly<Record<string, string>> = {
  Parameters: "Parameters",
  "Operations per image": "Operations",
  CIO: "CIO",
  "Peak memory": "Peak memory",
  "Time per step": "Step",
  "Test accuracy": "Accuracy",
  "Duplicate share": "Duplicates",
  "Duplicates across the sides": "Across",
  "Cosine between pieces": "Cosine",
  "CKA between weight gradients": "Weight CKA",
  "Correlation between the sides": "Side corr.",
  "CKA between the sides": "Side CKA",
};

interface Column {
  readonly title: string;
  /** One a variant: `97.31 ± 0.21`. */
  readonly cells: readonly string[];
}

function column(row: ReportComparisonRow, title: string): Column {
  const intervals = row.intervals ?? row.values.map(() => null);
  const { label, format } = scaleFor(row.unit, row.values);
  return {
    title: label === "" ? title : `${title} (${label})`,
    cells: row.values.map((value, i) => {
      const interval = intervals[i] ?? null;
      if (value === null) return notMeasured;
      // Half the width: these intervals are symmetric, but for Wilson's, whose asymmetry the JSON keeps.
      return interval ? `${format(value)} ± ${format((interval[1] - interval[0]) / 2)}` : format(value);
    }),
  };
}

function columnsOf(report: GradientReuseReport): Column[] {
  return Object.entries(shortTitles).flatMap(([measure, title]) => {
    const row = report.comparison.find((one) => one.measure === measure);
    return row ? [column(row, title)] : [];
  });
}

/** The table for a terminal, without a line wider than `width` where single cells allow; ends with a newline. */
export function renderVariantTable(
  report: GradientReuseReport,
  { width }: { readonly width: number },
): string {
  const columns = columnsOf(report);
  const lines = renderTable(
    [
      { title: "Variant", align: "left" },
      // What is dropped first in a narrow terminal is what stands last.
      ...columns.map(({ title }, i) => ({ title, align: "right" as const, ...(i > 5 ? { spare: i } : {}) })),
    ],
    report.variants.map(({ name }, i) => [name, ...columns.map(({ cells }) => cells[i])]),
    { width },
  );
  return `${lines.join("\n")}\n`;
}

/** Text that a Markdown table cell shows as it is. */
const cell = (text: string): string => text.replace(/[\\|`*_<>]/g, "\\$&").replace(/\s+/g, " ");

/** The table with what was compared, how each column was computed, and how sure it is, as Markdown. */
export function renderMarkdown(report: GradientReuseReport): string {
  const columns = columnsOf(report);
  const row = (cells: readonly string[]): string => `| ${cells.map(cell).join(" | ")} |`;
  const notes = Object.entries(shortTitles).flatMap(([measure, title]) => {
    const found = report.comparison.find((one) => one.measure === measure);
    return found ? [`- ${cell(title)}: ${cell(measure)}, ${cell(found.note)}.`] : [];
  });
  return [
    `### ${cell(report.meta.title)}`,
    "",
    cell(setting(report)),
    ...(report.meta.finished
      ? []
      : ["", `**Stopped early: ${cell(report.meta.stopReason ?? "no reason given")}.**`]),
    "",
    row(["Variant", ...columns.map(({ title }) => title)]),
    `| --- |${columns.map(() => " ---: |").join("")}`,
    ...report.variants.map(({ name }, i) => row([name, ...columns.map(({ cells }) => cells[i])])),
    "",
    ...notes,
    "",
    ...certainty(report).map((sentence) => `- ${cell(sentence)}`),
    "",
    `Made by \`${report.meta.command}\`.`,
    "",
  ].join("\n");
}
