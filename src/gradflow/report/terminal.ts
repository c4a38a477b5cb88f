/** The report for a terminal: the comparison, the differences in words, and per stage the equations and the reuse. */

import { styleText } from "node:util";
import { displayWidth, pad, renderTable, type TableColumn, wrapText } from "../../text/table.ts";
import { cosineOverTraining, gapReason } from "./derive.ts";
import {
  formatDifference,
  formatPathCount,
  formatRatio,
  formatValue,
  notMeasured,
  scaleFor,
} from "./format.ts";
import { certainty, headlines, setting } from "./headlines.ts";
import type { GradientReuseReport, ReportStage } from "./schema.ts";

export interface TerminalOptions {
  /** Width of the terminal; less than 40 is treated as 40. */
  readonly columns: number;
  readonly color: boolean;
}

type Style = Parameters<typeof styleText>[0];
type Paint = (style: Style, text: string) => string;

/** The report as text, without a line wider than `columns`; ends with a newline. */
export function renderTerminal(report: GradientReuseReport, { columns, color }: TerminalOptions): string {
  const width = Math.max(40, Math.floor(columns));
  const paint: Paint = (style, text) => (color ? styleText(style, text, { validateStream: false }) : text);
  const shown = printable(report);
  const lines = [
    ...wrapText(shown.meta.title, width).map((line) => paint("bold", line)),
    ...wrapText(setting(shown), width),
    ...stopNotice(shown, width, paint),
    "",
    ...comparison(shown, width, paint),
    ...differences(shown, width, paint),
    ...stageNames(shown).flatMap((name) => stageSection(shown, name, width, paint)),
    "",
    ...heading("How sure", width, paint),
    ...certainty(shown).flatMap((sentence) => wrapText(`- ${sentence}`, width, "  ")),
  ];
  return `${lines.join("\n")}\n`;
}

/** Without control characters, so that a name cannot move the cursor or colour the screen. */
function printable(report: GradientReuseReport): GradientReuseReport {
  const clean = (_key: string, value: unknown) =>
    typeof value === "string" ? value.replace(/\p{Cc}|\p{Bidi_Control}/gu, " ") : value;
  return JSON.parse(JSON.stringify(report), clean);
}

function stopNotice({ meta }: GradientReuseReport, width: number, paint: Paint): string[] {
  if (meta.finished) return [];
  const text = `Stopped early: ${meta.stopReason ?? "no reason given"}. These are the figures until then.`;
  return wrapText(text, width).map((line) => paint("yellow", line));
}

function heading(text: string, width: number, paint: Paint): string[] {
  return wrapText(text, width).map((line) => paint(["bold", "underline"], line));
}

function comparison(report: GradientReuseReport, width: number, paint: Paint): string[] {
  const names = report.variants.map((variant) => variant.name);
  const columns: TableColumn[] = [
    { title: "Measure", align: "left" },
    ...names.map((title): TableColumn => ({ title, align: "right" })),
    ...names.slice(1).map(
      (_, index): TableColumn => ({
        title: names.length === 2 ? "change" : `change ${index + 2}`,
        align: "right",
        spare: 1,
      }),
    ),
  ];
  const rows = report.comparison.map((row) => {
    const { label, format } = scaleFor(row.unit, row.values);
    return [
      label === "" ? row.measure : `${row.measure} (${label})`,
      ...row.values.map(format),
      ...row.values.slice(1).map((value) => formatDifference(row.values[0] ?? null, value, row.unit)),
    ];
  });
  const best = report.comparison.map(({ values, better }) => bestIndex(values, better));
  const table = renderTable(columns, rows, {
    width,
    paint: (text, row, column) => {
      if (row === -1) return paint("bold", text);
      if (rows[row]?.[column] === notMeasured) return paint("dim", text);
      return column > 0 && best[row] === column - 1 ? paint("green", text) : text;
    },
  });
  return [...heading("Comparison", width, paint), ...table, ...missingNotes(report, width)];
}

/** Index of the one best value; `undefined` where nothing is better, values are missing, or two are equal. */
function bestIndex(
  values: readonly (number | null)[],
  better: "higher" | "lower" | null,
): number | undefined {
  const present = values.filter((value) => value !== null);
  if (better === null || present.length < 2) return undefined;
  const best = better === "higher" ? Math.max(...present) : Math.min(...present);
  const found = values.indexOf(best);
  return values.lastIndexOf(best) === found ? found : undefined;
}

function missingNotes(report: GradientReuseReport, width: number): string[] {
  const missing = report.comparison.flatMap((row, rowIndex) =>
    row.values.flatMap((value, index) => {
      if (value !== null) return [];
      const reason = gapReason(report, `comparison[${rowIndex}].values[${index}]`) ?? "no reason given";
      return `${notMeasured} = not measured: ${row.measure}, ${report.variants[index]?.name ?? ""}: ${reason}`;
    }),
  );
  return missing.flatMap((note) => wrapText(note, width, "  "));
}

function differences(report: GradientReuseReport, width: number, paint: Paint): string[] {
  const baseline = report.variants[0]?.name ?? "";
  return headlines(report).flatMap(({ variant, sentences }) => [
    "",
    ...heading(`${variant} against ${baseline}`, width, paint),
    ...sentences.flatMap((sentence) => wrapText(`- ${sentence}`, width, "  ")),
  ]);
}

function stageNames(report: GradientReuseReport): string[] {
  return [...new Set(report.variants.flatMap((variant) => variant.stages.map((stage) => stage.name)))];
}

interface NamedStage {
  readonly variant: string;
  readonly stage: ReportStage;
}

function stageSection(report: GradientReuseReport, name: string, width: number, paint: Paint): string[] {
  const present = report.variants.flatMap((variant): NamedStage[] =>
    variant.stages.filter((stage) => stage.name === name).map((stage) => ({ variant: variant.name, stage })),
  );
  return [
    "",
    ...heading(name, width, paint),
    ...equations(present, width, paint),
    "",
    ...reuse(present, width, paint),
  ];
}

function equations(present: readonly NamedStage[], width: number, paint: Paint): string[] {
  const longest = Math.max(0, ...present.map(({ stage }) => stage.equations.forward.length));
  const blocks = (align: boolean) =>
    present.map(({ variant, stage: { equations: lines } }) => {
      // Side by side, the updates start on the same line whatever the number of forward equations.
      const filler = Array.from({ length: align ? longest - lines.forward.length : 0 }, () => "");
      const texts = [...lines.forward, ...filler, "", ...lines.update];
      return [
        { text: variant, style: "bold" as const },
        ...texts.map((text) => ({ text, style: undefined })),
      ];
    });
  const columns = blocks(true);
  const widths = columns.map((block) => Math.max(...block.map(({ text }) => displayWidth(text))));
  const between = 4;
  const needed = widths.reduce((sum, one) => sum + one, 0) + between * (columns.length - 1);
  if (needed > width) {
    return blocks(false).flatMap((block, index) => [
      ...(index === 0 ? [] : [""]),
      ...block.flatMap(({ text, style }) =>
        wrapText(text, width, "    ").map((line) => (style === undefined ? line : paint(style, line))),
      ),
    ]);
  }
  const height = Math.max(0, ...columns.map((block) => block.length));
  return Array.from({ length: height }, (_, row) =>
    columns
      .map((block, index) => {
        const { text, style } = block[row] ?? { text: "", style: undefined };
        const painted = style === undefined ? text : paint(style, text);
        return pad(painted, (widths[index] ?? 0) + (index < columns.length - 1 ? between : 0), "left");
      })
      .join("")
      .trimEnd(),
  );
}

function reuse(present: readonly NamedStage[], width: number, paint: Paint): string[] {
  const stages = present.map(({ stage }) => stage);
  const figure = (measure: string, unit: string, of: (stage: ReportStage) => number | null): string[] => {
    const values = stages.map(of);
    const { label, format } = scaleFor(unit, values);
    return [label === "" ? measure : `${measure} (${label})`, ...values.map(format)];
  };
  const rows = [
    figure("Duplicated gradient uses", "count", ({ structure }) => structure.duplicates.total),
    figure("The same, by channels", "count", ({ structure }) => structure.duplicates.weightedByChannels),
    figure("Pairs across the two sides", "count", ({ structure }) => structure.duplicates.acrossSides),
    figure("Duplicate bytes per image", "bytes", ({ structure }) => structure.duplicateBytes),
    ["Most paths to one map", ...stages.map(mostPaths)],
    [
      "Mean cosine, first sample",
      ...stages.map((stage) => formatRatio(cosineOverTraining([stage])[0]?.value ?? null)),
    ],
    [
      "Mean cosine, last sample",
      ...stages.map((stage) => formatRatio(cosineOverTraining([stage]).at(-1)?.value ?? null)),
    ],
  ];
  const columns: TableColumn[] = [
    { title: "Reuse", align: "left" },
    ...present.map(({ variant }): TableColumn => ({ title: variant, align: "right" })),
  ];
  const counts = present.flatMap(({ variant, stage }) => {
    const list = stage.structure.reuse.map(
      ({ gradient, count }) => `${gradient}\u00a0${formatValue(count, "count")}`,
    );
    return wrapText(`Weights updated per gradient, ${variant}: ${list.join(", ")}`, width, "  ");
  });
  const table = renderTable(columns, rows, {
    width,
    paint: (text, row) => (row === -1 ? paint("bold", text) : text),
  });
  return [...table, "", ...counts];
}

function mostPaths({ structure }: ReportStage): string {
  const [first, ...rest] = structure.paths;
  if (first === undefined) return notMeasured;
  const most = rest.reduce((best, path) => (BigInt(path.count) > BigInt(best.count) ? path : best), first);
  return `${most.featureMap}: ${formatPathCount(most.count)}`;
}
