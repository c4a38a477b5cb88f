/**
 * The graph of a module: traced once, the source of equations, structure, cost and drawings. May import from `nn/`
 * and what is below it.
 */
export { withoutValues } from "../tensor/shapesOnly.ts";
export {
  type Bottleneck,
  type BottleneckComparison,
  type BottleneckOptions,
  bottlenecks,
  type CostProfile,
  compareBottlenecks,
  type NamedCost,
  namedCosts,
} from "./bottlenecks.ts";
export { type Cost, cost, type LayerCost } from "./cost.ts";
export {
  type CountingRule,
  countingRules,
  type InputOutputOptions,
  inputOutput,
  layerFlops,
  movesMemory,
  totalFlops,
} from "./countingRules.ts";
export { dependentValues, type Graph, GraphBuilder, type GraphNode, type GraphValue } from "./graph.ts";
export type { LayerKind } from "./layerKinds.ts";
export {
  type InferenceMemory,
  inferenceMemory,
  type TrainingMemory,
  type TrainingMemoryOptions,
  trainingMemory,
} from "./memory.ts";
export {
  Summary,
  type SummaryOptions,
  type SummaryPrintOptions,
  type SummaryRow,
  type SummaryTotals,
  summary,
} from "./summary.ts";
export { type Trace, type TraceInput, trace, traceTraining } from "./trace.ts";
