/**
 * The gradient reuse report: JSON with a schema, and the two ways to read it, a terminal table and one HTML page.
 * Everything here is pure: data in, text out. Measuring and writing files is done elsewhere.
 */

export { duplicateTotals, mean, wilsonInterval } from "./derive.ts";
export { renderHtml } from "./html/page.ts";
export { parseReport, ReportError, reportJsonSchema, serializeReport } from "./json.ts";
export type {
  GradientReuseReport,
  ReportComparisonRow,
  ReportFeatureMap,
  ReportMeasuredPieces,
  ReportSeedRun,
  ReportStage,
  ReportStageSample,
  ReportStructure,
  ReportVariant,
  ReportWeight,
} from "./schema.ts";
export { gradientReuseReportSchema, reportSchemaVersion } from "./schema.ts";
export { renderTerminal, type TerminalOptions } from "./terminal.ts";
export { renderMarkdown, renderVariantTable } from "./variantTable.ts";
