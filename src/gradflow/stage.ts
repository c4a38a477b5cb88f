/** One stage of a network on the level of the paper: named feature maps and weighted layers. */
import type { Graph } from "../graph/index.ts";
import type { Shape } from "../tensor/layout.ts";
import { type CollapsedStage, collapse, type Traced } from "./collapse.ts";
import { nameStage, type Side } from "./naming.ts";
import { mapsOf, type Reading } from "./reading.ts";

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
  /** The layer that makes it, by index; null for the stage's input. */
  readonly layer: number | null;
}

/** A weighted layer of a stage, norm and activation collapsed into it. */
export interface Layer {
  /** What stands behind `w_`. */
  readonly name: string;
  readonly modulePath: string;
  readonly reads: Reading;
  /** Its gradient set S(w): the maps it reads, by index. */
  readonly sources: readonly number[];
  /** The map it makes, by index. */
  readonly output: number;
  readonly side: Side;
}

export interface Stage {
  readonly name: string;
  readonly maps: readonly FeatureMap[];
  readonly layers: readonly Layer[];
  /** What leaves the stage; null when nothing does. */
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

/** Analyses the part of a traced network that `selection` names. Throws when no op lies there. */
export function analyzeStage(traced: Traced, selection: StageSelection): Stage {
  const { graph } = traced;
  const collapsed = collapse(traced, selection.paths);
  const names = nameStage(collapsed);
  return {
    name: selection.name,
    maps: collapsed.maps.map(({ layer, value }, i) => ({
      name: names.maps[i],
      shape: graph.values[value].shape,
      side: names.mapSides[i],
      value,
      layer,
    })),
    layers: collapsed.layers.map(({ modulePath, reads, output }, i) => ({
      name: names.layers[i],
      modulePath,
      reads,
      sources: mapsOf(reads),
      output,
      side: names.layerSides[i],
    })),
    output: collapsed.output,
    edges: stageEdges(graph, collapsed),
  };
}

/** Maps that some layer reads, or that leave the stage: an unsplit input that is only there in parts is left out. */
export function readMaps(stage: Stage): number[] {
  const read = new Set([
    ...stage.layers.flatMap(({ sources }) => sources),
    ...(stage.output ? mapsOf(stage.output) : []),
  ]);
  return stage.maps.flatMap((_, map) => (read.has(map) ? [map] : []));
}

function stageEdges(graph: Graph, collapsed: CollapsedStage): StageEdge[] {
  const first = new Map(collapsed.layers.map(({ nodes }, i) => [nodes[0], i]));
  const reached = new Map<number, ReadonlySet<number>>();
  // From the last op to the first: the layers whose reading an op's output becomes part of.
  const leadsTo = (node: number): ReadonlySet<number> => reached.get(node) ?? new Set();
  for (const { id, output } of [...graph.nodes].reverse()) {
    const layer = first.get(id);
    const next = graph.values[output].consumers.flatMap(({ node }) => [...leadsTo(node)]);
    reached.set(id, layer === undefined ? new Set(collapsed.nodes.has(id) ? next : []) : new Set([layer]));
  }
  return collapsed.maps.flatMap(({ value }, map) =>
    graph.values[value].consumers
      .filter(({ node }) => graph.nodes[node].op !== "slice" && graph.nodes[node].op !== "batchStatistics")
      .map(({ node, slot }) => ({ map, node, slot, consumers: [...leadsTo(node)].sort((a, b) => a - b) })),
  );
}
