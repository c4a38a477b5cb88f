/** Which ops of a traced network a selection of modules means. */
import type { Graph, GraphNode } from "../graph/index.ts";
import { TrainedLayers } from "./trainedLayers.ts";

/** A graph, the values that data enters it by, and the one it ends in, if it ends. */
export interface Traced {
  readonly graph: Graph;
  readonly inputs: readonly number[];
  readonly output: number | null;
  /** Paths of all modules; without them only those are known in which an op ran. */
  readonly modules?: readonly string[];
}

const inside = (path: string, prefix: string): boolean =>
  prefix === "" || path === prefix || path.startsWith(`${prefix}.`);

/**
 * The ops in modules at or below `paths` ("" is everything) that compute something from the inputs. Throws when one of
 * the paths does not exist, and when there is no such op.
 */
export function selectedNodes(
  { graph, modules }: Traced,
  data: ReadonlySet<number>,
  paths: readonly string[],
): GraphNode[] {
  checkPaths(paths, modules ?? graph.nodes.map(({ modulePath }) => modulePath));
  const nodes = graph.nodes.filter(
    ({ modulePath, output }) => data.has(output) && paths.some((path) => inside(modulePath, path)),
  );
  if (nodes.length === 0)
    throw new Error(
      `gradflow: no op of the traced network lies in ${paths.map((p) => `"${p}"`).join(" or ")}; ` +
        "choose modules that compute something from the input",
    );
  return nodes;
}

/** Throws for a path under which there is no module. */
function checkPaths(paths: readonly string[], modules: readonly string[]): void {
  for (const path of paths) {
    if (modules.some((module) => inside(module, path))) continue;
    const above = path.includes(".") ? path.slice(0, path.lastIndexOf(".")) : "";
    const beside = modules
      .filter((module) => module !== above && inside(module, above))
      .map((module) => module.split(".").slice(0, path.split(".").length).join("."));
    throw new Error(
      `gradflow: no op of the traced network lies in "${path}": it has no such module; ` +
        `${above === "" ? "its modules are" : `in ${above} there are`} ${listed([...new Set(beside)])}`,
    );
  }
}

/** How many names an error lists. */
const most = 12;

function listed(names: readonly string[]): string {
  if (names.length === 0) return "none";
  const more = names.length > most ? ` and ${names.length - most} more` : "";
  return names.slice(0, most).join(", ") + more;
}

/** The ops of a stage, and all that read what it makes, up to the next weighted ones. */
export function withNextLayers(
  graph: Graph,
  data: ReadonlySet<number>,
  nodes: readonly GraphNode[],
): GraphNode[] {
  const trained = new TrainedLayers(graph, data);
  const own = new Set(nodes.map(({ id }) => id));
  const found = new Set(own);
  // A set is walked to its end while it grows.
  for (const id of found) {
    if (!own.has(id) && trained.of(graph.nodes[id])) continue;
    for (const { node } of graph.values[graph.nodes[id].output].consumers)
      if (data.has(graph.nodes[node].output)) found.add(node);
  }
  return [...found].sort((a, b) => a - b).map((id) => graph.nodes[id]);
}
