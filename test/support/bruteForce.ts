/**
 * Counts a stage's structure the slow and obvious way: every directed path on the graph of raw ops is walked one by
 * one. Knows nothing of how gradflow collapses the graph.
 */
import type { Graph, GraphNode } from "../../src/graph/index.ts";

/** A part of a graph, with what its feature maps and weighted layers are called. */
export interface RawStage {
  readonly graph: Graph;
  /** True for the ops of the stage. */
  readonly contains: (node: GraphNode) => boolean;
  /** The value that the stage ends in. */
  readonly end: number;
  /** Feature maps: what each is called, by value id. */
  readonly maps: ReadonlyMap<number, string>;
  /** The layer that an op belongs to the weights of; null for ops without weights. Several ops may make one layer. */
  readonly layerOf: (node: GraphNode) => string | null;
}

export interface Counts {
  /** Layers by name with the maps that reach them through ops without weights. */
  readonly sources: Map<string, string[]>;
  /** Maps that reach the end through ops without weights. */
  readonly leaving: string[];
  readonly paths: Map<string, CountedPaths>;
  /** For each map the layers that it goes into, and `end` where it leaves. */
  readonly stops: Map<string, string[]>;
}

interface CountedPaths {
  readonly all: number;
  readonly distinct: number;
  readonly shortest: number;
  readonly longest: number;
  /** Every length that a path has. */
  readonly lengths: number[];
}

/** Every path from value `from` to the end, each as the list of layers it passes. */
function walk(stage: RawStage, from: number): string[][] {
  const found: string[][] = [];
  const visit = (value: number, layers: string[]): void => {
    if (value === stage.end) found.push(layers);
    for (const { node } of stage.graph.values[value].consumers) {
      const op = stage.graph.nodes[node];
      if (!stage.contains(op)) continue;
      const layer = stage.layerOf(op);
      visit(op.output, layer === null || layer === layers.at(-1) ? layers : [...layers, layer]);
    }
  };
  visit(from, []);
  return found;
}

/** Names by which paths that start at a map can first be told apart: the layers it goes into, or the end. */
function firstStops(stage: RawStage, from: number): Set<string> {
  return new Set(walk(stage, from).map(([first = "end"]) => first));
}

/** Counts by enumeration. A map that is a slice starts paths of its own; the whole it was cut from is no map. */
export function bruteForce(stage: RawStage): Counts {
  const counts: Counts = { sources: new Map(), leaving: [], paths: new Map(), stops: new Map() };
  for (const [value, name] of stage.maps) {
    const paths = walk(stage, value);
    const lengths = paths.map(({ length }) => length);
    counts.paths.set(name, {
      all: paths.length,
      distinct: new Set(paths.map((layers) => layers.join(" "))).size,
      shortest: Math.min(...lengths),
      longest: Math.max(...lengths),
      lengths: [...new Set(lengths)].sort((a, b) => a - b),
    });
    const stops = [...firstStops(stage, value)];
    counts.stops.set(name, stops.sort());
    for (const stop of stops) {
      if (stop === "end") counts.leaving.push(name);
      else counts.sources.set(stop, [...(counts.sources.get(stop) ?? []), name]);
    }
  }
  return counts;
}

/** Every two layers with a common source, once a source. */
export function sharedPairs({ sources }: Counts): { map: string; layers: [string, string] }[] {
  const layers = [...sources];
  return layers.flatMap(([a, read], i) =>
    layers
      .slice(i + 1)
      .flatMap(([b, other]) =>
        read
          .filter((map) => other.includes(map))
          .map((map) => ({ map, layers: [a, b].sort() as [string, string] })),
      ),
  );
}
