/**
 * The instrument that shows gradients flow: equations and structure of any stage, gradient pieces measured during
 * training, and the report. May import from `graph/`, `nn/` and what is below them.
 */
export {
  type Cost,
  cost,
  type Graph,
  type GraphNode,
  type GraphValue,
  type LayerCost,
  type Trace,
  trace,
} from "../graph/index.ts";
export {
  type Arrival,
  type ArrivalSummary,
  gradientArrivals,
  log10,
  summarizeArrivals,
} from "./arrivals.ts";
export { buildReport, type MeasuredVariant, type ReportMeta, reportStage } from "./buildReport.ts";
export {
  type DuplicateSelection,
  duplicatedPaths,
  type EdgeSelection,
  type PathEdit,
  PathEditor,
  type PathSelection,
  reweight,
  truncate,
} from "./counterfactual.ts";
export {
  type CspBackward,
  type CspMaps,
  type CspWeights,
  cspBackward,
  cspForward,
  type DenseBackward,
  denseBackward,
  denseForward,
} from "./equations.ts";
export * from "./measures/index.ts";
export {
  type Crossing,
  type NetworkStage,
  type NetworkStructure,
  networkStructure,
  structureOfTrace,
} from "./networkStructure.ts";
export { type NotationOptions, type StageEquations, stageEquations, stageOutput } from "./notation.ts";
export type { Reading } from "./reading.ts";
export { GradientRecorder, type RecorderOptions } from "./recorder.ts";
export type { SamplingDetail } from "./recording/record.ts";
export type {
  MeasuredMap,
  MeasuredStage,
  PieceSample,
  SideSample,
  StageFigure,
  StageSample,
} from "./recording/samples.ts";
export {
  type GradientReuseReport,
  gradientReuseReportSchema,
  parseReport,
  ReportError,
  type ReportSeedRun,
  type ReportVariant,
  renderHtml,
  renderMarkdown,
  renderTerminal,
  renderVariantTable,
  reportJsonSchema,
  reportSchemaVersion,
  serializeReport,
  type TerminalOptions,
} from "./report/index.ts";
export {
  analyzeStage,
  type FeatureMap,
  type Layer,
  readMaps,
  type Side,
  type Stage,
  type StageEdge,
  type StageSelection,
  type Weight,
} from "./stage.ts";
export {
  type DuplicatePair,
  duplicatePairs,
  type PathCount,
  type Reuse,
  type StageStructure,
  stageStructure,
} from "./structure.ts";
