/** What differs among many networks, in sentences: the ends of each measure, and which differences chance explains. */

import { formatChange, formatRatio, formatValue } from "./format.ts";
import type { GradientReuseReport, ReportComparisonRow } from "./schema.ts";

const words = {
  fewer: ["fewer", "more"],
  less: ["less", "more"],
} as const;

/** How the sentences call a measure, and what less of it is called. */
const measures: readonly [measure: string, name: string, words: readonly [string, string]][] = [
  ["Parameters", "parameters", words.fewer],
  ["Operations per image", "operations per image", words.fewer],
  ["CIO", "convolution input and output", words.less],
  ["Peak memory", "peak memory", words.less],
  ["Duplicated gradient uses", "duplicated gradient uses", words.fewer],
  ["Duplicated gradient bytes", "bytes of duplicated gradient", words.fewer],
];

/** One sentence a topic; a topic that was not measured is left out. */
export function standouts(report: GradientReuseReport): string[] {
  const row = (measure: string) => report.comparison.find((one) => one.measure === measure);
  const smallest = measures.flatMap(([measure, name, less]) => {
    const found = row(measure);
    return found ? smallestSentence(report, found, name, less) : [];
  });
  return [
    ...accuracySentences(report, row("Test accuracy")),
    ...smallest,
    ...acrossSentence(report, row("Duplicates across the sides")),
    ...spanSentence(report, row("Cosine between pieces"), "Mean cosine between pieces of one gradient"),
    ...spanSentence(
      report,
      row("Correlation between the sides"),
      "Correlation between the two sides' gradients",
    ),
  ];
}

function nameOf({ variants }: GradientReuseReport, index: number): string {
  return variants[index]?.name ?? "";
}

interface Ranked {
  readonly value: number;
  readonly index: number;
}

/** The measured values from the lowest to the highest. */
function ranked({ values }: ReportComparisonRow): Ranked[] {
  const present = values.flatMap((value, index) => (value === null ? [] : [{ value, index }]));
  return present.sort((a, b) => a.value - b.value);
}

function accuracySentences(report: GradientReuseReport, row: ReportComparisonRow | undefined): string[] {
  const best = row ? ranked(row).at(-1) : undefined;
  const base = row?.values[0] ?? null;
  if (!row || !best || base === null) return [];
  const share = (value: number) => formatValue(value, "fraction");
  const head = `Accuracy: highest ${nameOf(report, best.index)} with ${share(best.value)}, baseline ${nameOf(report, 0)} ${share(base)}`;
  const first = row.intervals?.[0] ?? null;
  if (first === null) return [`${head}.`];
  const others = row.values.slice(1).flatMap((_, i) => {
    const interval = row.intervals?.[i + 1] ?? null;
    return interval === null ? [] : [interval];
  });
  const overlapping = others.filter(([low, high]) => low <= first[1] && high >= first[0]).length;
  return [
    `${head}. The 95 % intervals of ${overlapping} of ${others.length} other networks overlap with the baseline's: ` +
      "those differences may be chance.",
  ];
}

function smallestSentence(
  report: GradientReuseReport,
  row: ReportComparisonRow,
  name: string,
  less: readonly [string, string],
): string[] {
  const [smallest] = ranked(row);
  const base = row.values[0] ?? null;
  if (!smallest || base === null) return [];
  const title = `${name.slice(0, 1).toUpperCase()}${name.slice(1)}`;
  const amount = (value: number) => formatValue(value, row.unit);
  if (smallest.value === base) return [`${title}: none has ${less[0]} than the baseline, ${amount(base)}.`];
  const equal = row.values.filter((value) => value === smallest.value).length - 1;
  const also = equal > 0 ? ` and ${equal} more` : "";
  return [
    `${title}: least ${nameOf(report, smallest.index)}${also} with ${amount(smallest.value)}, ` +
      `${formatChange(base, smallest.value, less)} than the baseline's ${amount(base)}.`,
  ];
}

function acrossSentence(report: GradientReuseReport, row: ReportComparisonRow | undefined): string[] {
  if (!row) return [];
  const sharing = row.values.flatMap((value, index) =>
    value !== null && value > 0 ? [nameOf(report, index)] : [],
  );
  return [
    sharing.length === 0
      ? "Sides: in no network does a gradient update weights on both sides of a stage."
      : `Sides: gradients update weights on both sides of a stage in ${sharing.join(", ")}, and in no other network.`,
  ];
}

function spanSentence(
  report: GradientReuseReport,
  row: ReportComparisonRow | undefined,
  title: string,
): string[] {
  const all = row ? ranked(row) : [];
  const [lowest, highest] = [all[0], all.at(-1)];
  if (!lowest || !highest) return [];
  return [
    `${title}: from ${formatRatio(lowest.value)} (${nameOf(report, lowest.index)}) to ` +
      `${formatRatio(highest.value)} (${nameOf(report, highest.index)}).`,
  ];
}
