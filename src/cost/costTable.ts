/** A cost run for a terminal: totals, what sticks out, and how the networks compare. */
import { renderTable, type TableColumn, wrapText } from "../text/table.ts";
import { billions, bottleneckText, type CostReport, comparisonSentence, millions } from "./costReport.ts";

const columns: readonly TableColumn[] = [
  { title: "Network", align: "left" },
  { title: "Input", align: "right", spare: 2 },
  { title: "Weights (M)", align: "right" },
  { title: "BFLOPs", align: "right" },
  { title: "CIO (M)", align: "right", spare: 3 },
  { title: "with pools", align: "right", spare: 1 },
  { title: "Largest layer", align: "right" },
  { title: "Balance", align: "right", spare: 4 },
];

/** The report as text for a terminal of so many columns; ends with a newline. */
export function renderCostTable({ networks, comparisons }: CostReport, width: number): string {
  const rows = networks.map(
    ({ name, inputShape, weights, flops, convInputOutput, inputOutput, flopsProfile }) => [
      ...[name, inputShape.slice(1).join(" x "), millions(weights), billions(flops)],
      ...[millions(convInputOutput), millions(inputOutput)],
      ...[flopsProfile.largest ? billions(flopsProfile.largest.cost) : "-", flopsProfile.balance.toFixed(3)],
    ],
  );
  const found = networks.flatMap(({ name, flopsProfile: { bottlenecks } }) => [
    "",
    ...wrapText(
      bottlenecks.length === 0
        ? `${name}: no layer costs more than 5 times the mean layer.`
        : `${name}: layers that cost more than 5 times the mean layer`,
      width,
    ),
    ...bottlenecks.flatMap((layer) => wrapText(`- ${bottleneckText(layer)}`, width, "  ")),
  ]);
  const compared = comparisons.flatMap((comparison) => [
    "",
    ...wrapText(comparisonSentence(comparison), width, "  "),
  ]);
  return `${[...renderTable(columns, rows, { width }), ...found, ...compared].join("\n")}\n`;
}
