/** Whether two steps ran the same ops on the same shapes, so that what was worked out for one holds for the other. */
import type { Graph } from "../../graph/index.ts";

function sameValue(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  const [x, y] = [Object.entries(a), new Map<string, unknown>(Object.entries(b))];
  return x.length === y.size && x.every(([key, value]) => y.has(key) && sameValue(value, y.get(key)));
}

/** True when the graphs have the same ops, connections, attributes, shapes, module paths and parameters. */
export function sameGraph(a: Graph, b: Graph): boolean {
  return (
    a.nodes.length === b.nodes.length &&
    a.values.length === b.values.length &&
    a.nodes.every((node, i) => {
      const other = b.nodes[i];
      return (
        node.op === other.op &&
        node.output === other.output &&
        node.modulePath === other.modulePath &&
        sameValue(node.inputs, other.inputs) &&
        sameValue(node.attributes, other.attributes)
      );
    }) &&
    a.values.every((value, i) => {
      const other = b.values[i];
      return (
        value.parameter === other.parameter &&
        value.dtype === other.dtype &&
        sameValue(value.shape, other.shape)
      );
    })
  );
}
