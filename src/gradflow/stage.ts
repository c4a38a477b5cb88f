/** One stage of a network on the level of the paper: named feature maps and weighted layers. */
import type { Graph } from "../graph/index.ts";
import type { Shape } from "../tensor/layout.ts";
import { type CollapsedStage, type CollapseOptions, collapse } from "./collapse.ts";
import { nameStage, type Side } from "./naming.ts";
import { mapsOf, type Reading } from "./reading.ts";
import type { Traced } from "./selection.ts";

export type { Side } from "./naming.ts";

/** Which modules make up a stage. */
export interface StageSelection {
  readonly name: string;
  /** Everything at or below these module paths; "" is the whole traced module. */
  readonly paths: readonly string[];
}

/** A feature map of a stage. */
export interface FeatureMap {
  /** What stands behind `x_` (the map) and `g_` (its gradient): `0''`, `2`, `T`. */
  readonly name: string;
  /** `[N, C, H, W]` as traced. */
  readonly shape: Shape;
  readonly side: Side;
  /** The graph value from which its consumers branch off. */
  readonly value: number;
  /** The graph value as it was made, before norms and activations. */
  readonly made: number;
  /** The layer that makes it, by index; null for the stage's input and for parts. */
  readonly layer: number | null;
  /** Of a channel slice the map that it is a part of, by index, with its first channel and one past its last. */
  readonly part: { readonly of: number; readonly from: number; readonly to: number } | null;
}

/** A weighted layer of a stage, norm and activation collapsed into it: one use of a weight. */
export interface Layer {
  /** What stands behind `w_`: the name of its weight. */
  readonly name: string;
  /** Its weight, by index. Several layers have the same one where a module, or a parameter, is used again. */
  readonly weight: number;
  /** The graph node of its first weighted op, the one that reads the maps. */
  readonly node: number;
  readonly modulePath: string;
  readonly reads: Reading;
  /** The maps it reads, by index: what it adds to the gradient set of its weight. */
  readonly sources: readonly number[];
  /** The map it makes, by index. */
  readonly output: number;
  /** `[N, C, H, W]` of what it makes, before any pooling that is collapsed into it. */
  readonly outputShape: Shape;
  readonly side: Side;
}

/** A weight of a stage, however often it is used. */
export interface Weight {
  /** What stands behind `w_`: the name of what its first layer makes. */
  readonly name: string;
  /** The layers that use it, by index, in the order of execution. */
  readonly layers: readonly number[];
  /** Its gradient set S(w): the maps that any of its layers reads, by index. */
  readonly sources: readonly number[];
  /** Paths of its parameters, two for a bottleneck; "(no parameter)" for a tensor that belongs to no module. */
  readonly parameters: readonly string[];
  /** Where it is first used. */
  readonly modulePath: string;
  /** `bypass` when any of its layers is on that side. */
  readonly side: Side;
}

export interface Stage {
  readonly name: string;
  readonly maps: readonly FeatureMap[];
  readonly layers: readonly Layer[];
  readonly weights: readonly Weight[];
  /** What leaves the stage, `outputs(…)` where it is several maps; null when nothing does. */
  readonly output: Reading | null;
  /** Edges by which gradient pieces reach its maps. */
  readonly edges: readonly StageEdge[];
}

/** One consumer's edge into a map: the gradient piece that the consumer sends back arrives over it. */
export interface StageEdge {
  readonly map: number;
  /** The graph node that reads the map's value, and as which of its inputs. */
  readonly node: number;
  readonly slot: number;
  /** Layers whose pieces arrive here, by index; empty when the edge leads out of the stage. */
  readonly consumers: readonly number[];
}

/**
 * Analyses the part of a traced network that `selection` names. Throws when one of its paths does not exist, and when
 * nothing is computed there.
 */
export function analyzeStage(traced: Traced, selection: StageSelection, options?: CollapseOptions): Stage {
  const { graph } = traced;
  const collapsed = collapse(traced, selection.paths, options);
  const names = nameStage(collapsed);
  const users = layersByWeight(collapsed);
  const weightOf = new Map(users.flatMap((layers, weight) => layers.map((layer) => [layer, weight])));
  const layers = collapsed.layers.map(({ modulePath, reads, output, nodes }, i): Layer => {
    const weight = weightOf.get(i) ?? 0;
    return {
      name: names.layers[users[weight][0]],
      weight,
      node: nodes[0],
      modulePath,
      reads,
      sources: mapsOf(reads),
      output,
      outputShape: graph.values[graph.nodes[nodes[nodes.length - 1]].output].shape,
      side: names.layerSides[i],
    };
  });
  return {
    name: selection.name,
    maps: collapsed.maps.map(({ layer, slice, value, made }, i) => ({
      name: names.maps[i],
      shape: graph.values[value].shape,
      side: names.mapSides[i],
      value,
      made,
      layer,
      part: slice,
    })),
    layers,
    weights: users.map((uses): Weight => {
      const [first] = uses;
      const sides = uses.map((layer) => layers[layer].side);
      return {
        name: names.layers[first],
        layers: uses,
        sources: [...new Set(uses.flatMap((layer) => layers[layer].sources))].sort((a, b) => a - b),
        parameters: collapsed.layers[first].weights.map(
          (value) => graph.values[value].parameter ?? "(no parameter)",
        ),
        modulePath: layers[first].modulePath,
        side: sides.includes("bypass") ? "bypass" : sides[0],
      };
    }),
    output: collapsed.output,
    edges: stageEdges(graph, collapsed),
  };
}

/** For every weight the layers that use it, in the order of their first. */
function layersByWeight({ layers }: CollapsedStage): number[][] {
  const users = new Map<string, number[]>();
  layers.forEach(({ weights }, layer) => {
    const key = weights.join();
    users.set(key, [...(users.get(key) ?? []), layer]);
  });
  return [...users.values()];
}

/** The map as a whole, where `map` is a part of one. */
export function wholeOf({ maps }: Stage, map: number): number {
  return maps[map].part?.of ?? map;
}

/** Whether two maps have channels in common: they are the same, one is a part of the other, or parts overlap. */
export function overlap(stage: Stage, a: number, b: number): boolean {
  if (a === b) return true;
  if (wholeOf(stage, a) !== wholeOf(stage, b)) return false;
  const [first, second] = [stage.maps[a].part, stage.maps[b].part];
  return !first || !second || (first.from < second.to && second.from < first.to);
}

/** Maps that some layer reads, or that leave the stage: an unsplit input that is only there in parts is left out. */
export function readMaps(stage: Stage): number[] {
  const read = new Set([
    ...stage.weights.flatMap(({ sources }) => sources),
    ...(stage.output ? mapsOf(stage.output) : []),
  ]);
  return stage.maps.flatMap((_, map) => (read.has(map) ? [map] : []));
}

function stageEdges(graph: Graph, collapsed: CollapsedStage): StageEdge[] {
  const first = new Map(collapsed.layers.map(({ nodes }, i) => [nodes[0], i]));
  const reached = new Map<number, ReadonlySet<number>>();
  // From the last op to the first: the layers whose reading an op's output becomes part of.
  const leadsTo = (node: number): ReadonlySet<number> => reached.get(node) ?? new Set();
  for (const id of [...collapsed.nodes].reverse()) {
    const layer = first.get(id);
    const readers = graph.values[graph.nodes[id].output].consumers;
    const next = layer === undefined ? readers.flatMap(({ node }) => [...leadsTo(node)]) : [layer];
    reached.set(id, new Set(next));
  }
  return collapsed.maps.flatMap(({ value }, map) =>
    graph.values[value].consumers
      .filter(({ node }) => graph.nodes[node].op !== "slice" && graph.nodes[node].op !== "batchStatistics")
      .map(({ node, slot }) => ({ map, node, slot, consumers: [...leadsTo(node)].sort((a, b) => a - b) })),
  );
}
