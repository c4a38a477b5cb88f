/**
 * From the graph of ops to the level on which the paper writes: weighted layers and the feature maps between them.
 *
 * Norms, activations, dropout, pooling and reshapes collapse into the weighted layer they belong to; what remains
 * are weighted layers, concatenations, channel slices and sums. A bottleneck is one layer, as in the paper
 * (`bottlenecks.ts` has the rule).
 */
import { dependentValues, type Graph, type GraphNode } from "../graph/index.ts";
import { bottleneckChains, commonModule } from "./bottlenecks.ts";
import { channelRange, isChannelConcat } from "./channels.ts";
import {
  combined,
  concatenated,
  mapsOf,
  partsWithin,
  type Reading,
  type Sign,
  substitute,
} from "./reading.ts";
import { selectedNodes, type Traced, withNextLayers } from "./selection.ts";
import { TrainedLayers, type WeightedOp } from "./trainedLayers.ts";

/** A feature map: the stage's input, a channel slice of a map, or the output of a weighted layer. */
export interface CollapsedMap {
  /** The layer that makes it; null for inputs and their slices. */
  readonly layer: number | null;
  /** The map it is a slice of, with the first channel and one past the last; null when it is whole. */
  readonly slice: { readonly of: number; readonly from: number; readonly to: number } | null;
  /** The graph value, after the norms and activations that follow it, from which its consumers branch off. */
  readonly value: number;
  /** The graph value as it was made. */
  readonly made: number;
}

/** A weighted layer with what is collapsed into it. */
export interface CollapsedLayer {
  readonly modulePath: string;
  readonly reads: Reading;
  readonly output: number;
  /** The weighted ops in it; more than one when a bottleneck is part of it. */
  readonly nodes: readonly number[];
  /** Value ids of the trained tensors that its weight is made of. Layers with the same ones use one weight again. */
  readonly weights: readonly number[];
  /** A single 1x1 convolution. */
  readonly isPointwise: boolean;
}

export interface CollapsedStage {
  readonly maps: readonly CollapsedMap[];
  readonly layers: readonly CollapsedLayer[];
  /** What leaves the stage; null when nothing is read outside and it is not the graph's end. */
  readonly output: Reading | null;
  /** The graph nodes in it that depend on data. */
  readonly nodes: ReadonlySet<number>;
}

export interface CollapseOptions {
  /** Whether a bottleneck is one layer, as the paper counts. Default true. */
  readonly bottlenecks?: boolean;
  /** Whether to go on behind the stage, up to the next weighted layers and these included. Default false. */
  readonly behind?: boolean;
}

/**
 * Collapses the part of a graph that lies in modules at or below `paths` ("" is everything). Throws when one of the
 * paths does not exist, and when no op lies there.
 */
export function collapse(
  traced: Traced,
  paths: readonly string[],
  { bottlenecks = true, behind = false }: CollapseOptions = {},
): CollapsedStage {
  const { graph, inputs, output } = traced;
  const data = dependentValues(graph, inputs);
  const selected = selectedNodes(traced, data, paths);
  const nodes = behind ? withNextLayers(graph, data, selected) : selected;
  return new Collapser(graph, data, nodes, output).result(bottlenecks);
}

const operators: Readonly<Record<string, Sign>> = { add: "+", sub: "-", mul: "⊙", matmul: "·" };

class Collapser {
  readonly #graph: Graph;
  readonly #data: ReadonlySet<number>;
  readonly #stage: ReadonlySet<number>;
  readonly #nodes: readonly GraphNode[];
  readonly #end: number | null;
  readonly #trained: TrainedLayers;
  readonly #maps: Omit<CollapsedMap, "made">[] = [];
  #layers: CollapsedLayer[] = [];
  readonly #readings = new Map<number, Reading>();

  constructor(graph: Graph, data: ReadonlySet<number>, nodes: readonly GraphNode[], end: number | null) {
    this.#end = end;
    this.#graph = graph;
    this.#data = data;
    this.#nodes = nodes;
    this.#trained = new TrainedLayers(graph, data);
    this.#stage = new Set(nodes.map(({ id }) => id));
    for (const node of nodes) this.#readings.set(node.output, this.#visit(node));
  }

  result(bottlenecks: boolean): CollapsedStage {
    const output = this.#output();
    if (bottlenecks) this.#mergeBottlenecks(output);
    // Merged maps leave gaps; what is still read or written keeps its order.
    const used = new Set([
      ...this.#layers.flatMap(({ reads, output: map }) => [...mapsOf(reads), map]),
      ...(output ? mapsOf(output) : []),
    ]);
    for (const map of [...used]) {
      const { slice } = this.#maps[map];
      if (slice) used.add(slice.of);
    }
    const kept = this.#maps.flatMap((_, i) => (used.has(i) ? [i] : []));
    const renamed = new Map(kept.map((old, i) => [old, i]));
    const rename = (map: number): number => renamed.get(map) ?? -1;
    const renameReading = (reading: Reading): Reading =>
      substitute(reading, (map) => ({ kind: "map", map: rename(map) }));
    const layerIndex = new Map(this.#layers.map(({ output: map }, i) => [map, i]));
    return {
      maps: kept.map((old) => {
        const { slice, value } = this.#maps[old];
        return {
          layer: layerIndex.get(old) ?? null,
          slice: slice && { ...slice, of: rename(slice.of) },
          value: this.#branchingValue(value),
          made: value,
        };
      }),
      layers: this.#layers.map((layer) => ({
        ...layer,
        reads: renameReading(layer.reads),
        output: rename(layer.output),
      })),
      output: output && renameReading(output),
      nodes: this.#stage,
    };
  }

  #newMap(map: Omit<CollapsedMap, "made">): Reading {
    this.#maps.push(map);
    return { kind: "map", map: this.#maps.length - 1 };
  }

  /** The reading of a value; one made outside the stage is an input of it. */
  #read(value: number): Reading {
    const known = this.#readings.get(value);
    if (known) return known;
    const reading = this.#newMap({ layer: null, slice: null, value });
    this.#readings.set(value, reading);
    return reading;
  }

  #visit(node: GraphNode): Reading {
    const data = node.inputs.filter((value) => this.#data.has(value));
    const weighted = this.#trained.of(node);
    if (weighted) return this.#weighted(node, weighted);
    const readings = data.map((value) => this.#read(value));
    if (isChannelConcat(node)) return concatenated(readings);
    if (node.op === "slice") return this.#slice(node, readings[0]);
    return combined(operators[node.op] ?? node.op, readings);
  }

  #weighted(node: GraphNode, { map, weights, shape, isConvolution }: WeightedOp): Reading {
    const reads = this.#read(map);
    const reading = this.#newMap({ layer: this.#layers.length, slice: null, value: node.output });
    this.#layers.push({
      modulePath: node.modulePath,
      reads,
      output: this.#maps.length - 1,
      nodes: [node.id],
      weights,
      isPointwise: isConvolution && shape.slice(2).every((extent) => extent === 1),
    });
    return reading;
  }

  #slice(node: GraphNode, reading: Reading): Reading {
    const range = channelRange(node);
    const { shape, producer } = this.#graph.values[node.inputs[0]];
    if (!range || (range[0] === 0 && range[1] === shape[1])) return reading;
    const [from, to] = range;
    if (reading.kind === "map") return this.#part(reading.map, from, to, node.output);
    // What follows a concatenation may mix its channels; right behind it they are those of its parts.
    const isJoined = producer !== null && this.#graph.nodes[producer].op === "concat";
    return reading.kind === "concat" && isJoined ? this.#cut(reading.parts, from, to, node.output) : reading;
  }

  /** Channels of a map; those of a part count from the start of the whole, so that parts of parts are parts of it. */
  #part(map: number, from: number, to: number, value: number): Reading {
    const { slice } = this.#maps[map];
    const start = slice?.from ?? 0;
    return this.#newMap({
      layer: null,
      slice: { of: slice?.of ?? map, from: start + from, to: start + to },
      value,
    });
  }

  /** Channels of a concatenation: the parts they lie in, and a piece of a part where they lie in that alone. */
  #cut(parts: readonly Reading[], from: number, to: number, value: number): Reading {
    const touched = partsWithin(parts, from, to, (map) => this.#channels(map));
    const [{ part, start, end }] = touched;
    return touched.length === 1 && part.kind === "map" && (from > start || to < end)
      ? this.#part(part.map, from - start, to - start, value)
      : concatenated(touched.map((touch) => touch.part));
  }

  #channels(map: number): number {
    const { slice, value } = this.#maps[map];
    return slice ? slice.to - slice.from : this.#graph.values[value].shape[1];
  }

  /** What is read outside the stage, or is the end of what was traced. */
  #output(): Reading | null {
    const readings = this.#nodes.flatMap(({ output }) => {
      const readOutside = this.#readersOf(output).some(({ id }) => !this.#stage.has(id));
      const reading = this.#readings.get(output);
      return reading && (readOutside || output === this.#end) ? [reading] : [];
    });
    return readings.length === 0 ? null : combined("outputs", readings);
  }

  #mergeBottlenecks(output: Reading | null): void {
    const readers = this.#maps.map(() => 0);
    for (const { reads } of this.#layers) for (const map of mapsOf(reads)) readers[map] += 1;
    const windowOf = ({ nodes: [node] }: CollapsedLayer): readonly number[] | null => {
      const weighted = this.#trained.of(this.#graph.nodes[node]);
      return weighted?.isConvolution ? weighted.shape.slice(2) : null;
    };
    const links = this.#layers.map((layer) => ({ ...layer, window: windowOf(layer) }));
    const chains = new Map(bottleneckChains(links, readers, output).map((chain) => [chain[0], chain]));
    const merged = new Set([...chains.values()].flatMap(([, ...others]) => others));
    // A chain stands where its last convolution stood, so that what it reads comes before it.
    const layers = this.#layers.map((layer, i) => ({ layer, at: chains.get(i)?.at(-1) ?? i }));
    this.#layers = layers
      .map(({ layer, at }, i) => ({ layer: this.#mergedLayer(layer, chains.get(i)), at, i }))
      .filter(({ i }) => !merged.has(i))
      .sort((a, b) => a.at - b.at)
      .map(({ layer }) => layer);
  }

  #mergedLayer(layer: CollapsedLayer, chain: readonly number[] | undefined): CollapsedLayer {
    if (!chain) return layer;
    const parts = chain.map((i) => this.#layers[i]);
    return {
      modulePath: commonModule(parts.map(({ modulePath }) => modulePath)),
      reads: layer.reads,
      output: parts[parts.length - 1].output,
      nodes: parts.flatMap(({ nodes }) => nodes),
      weights: parts.flatMap(({ weights }) => weights),
      isPointwise: false,
    };
  }

  /**
   * Follows norms and activations after a map to where several consumers, or a combination, read the result; through
   * sums too, which pass the gradient on as it is. A chain that ends in a single weighted layer belongs to that layer
   * instead, and the map branches where it was made.
   */
  #branchingValue(start: number): number {
    let value = start;
    for (;;) {
      const readers = this.#readersOf(value);
      if (readers.length !== 1 || !this.#stage.has(readers[0].id)) return value;
      const [reader] = readers;
      if (this.#trained.of(reader)) return start;
      if (!this.#isPassThrough(reader) && !this.#isPlainSum(reader)) return value;
      value = reader.output;
    }
  }

  /** Statistics of a batch are part of the norm that uses them, which accounts for their gradient too. */
  #readersOf(value: number): GraphNode[] {
    return this.#graph.values[value].consumers
      .map(({ node }) => this.#graph.nodes[node])
      .filter(({ op, output }) => op !== "batchStatistics" && this.#data.has(output));
  }

  /** A sum that repeats neither side: its gradient is that of both. */
  #isPlainSum({ op, inputs: [a, b], output }: GraphNode): boolean {
    const shapeOf = (value: number): string => this.#graph.values[value].shape.join();
    return op === "add" && [a, b].every((value) => shapeOf(value) === shapeOf(output));
  }

  #isPassThrough({ op, inputs }: GraphNode): boolean {
    const isStatistics = (value: number): boolean => {
      const { producer } = this.#graph.values[value];
      return producer !== null && this.#graph.nodes[producer].op === "batchStatistics";
    };
    return (
      op !== "concat" &&
      op !== "slice" &&
      inputs.filter((value) => this.#data.has(value) && !isStatistics(value)).length === 1
    );
  }
}
