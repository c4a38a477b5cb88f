/**
 * The graph of a module: traced once, the source of equations, structure, cost and drawings. May import from `nn/`
 * and what is below it.
 */
export { type Cost, cost, type LayerCost } from "./cost.ts";
export { dependentValues, type Graph, GraphBuilder, type GraphNode, type GraphValue } from "./graph.ts";
export { type Trace, trace } from "./trace.ts";
