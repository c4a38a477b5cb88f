/** What the recorder looks for in a backward pass: worked out once for all steps that run the same ops. */
import type { Graph } from "../../graph/index.ts";
import type { Reading } from "../reading.ts";
import type { Traced } from "../selection.ts";
import { analyzeStage, type Side, type Stage, type StageSelection } from "../stage.ts";

/** Where gradients leave the stage instead of going to one of its layers. */
const outside = "out";

/** One op's input: an edge of the graph. */
export interface Edge {
  /** The op, by its index in the graph. */
  readonly node: number;
  readonly slot: number;
}

/** The part of a weight's gradient that belongs to the channels of one map: from, and one past the last. */
export interface WeightPart extends Edge {
  readonly from: number;
  readonly to: number;
}

/** A consumer of a map: the edge that its piece arrives by, and the weight that it reads the map with. */
export interface PlannedPiece extends Edge {
  /** `w_2`, `w_2+w_T`, `out` */
  readonly consumer: string;
  /** Layers behind the edge, by index. */
  readonly layers: readonly number[];
  /** null when several weights, none, or a grouped one reads the map by this edge. */
  readonly weight: WeightPart | null;
}

export interface PlannedMap {
  readonly name: string;
  readonly pieces: readonly PlannedPiece[];
  /** Whether the pieces are compared: there are two at least, and not all of them from outside. */
  readonly compared: boolean;
  /** The side whose gradient this map's is, for the input's two parts. */
  readonly side: "dense" | "bypass" | null;
}

export interface PlannedStage {
  readonly name: string;
  readonly stage: Stage;
  readonly maps: readonly PlannedMap[];
}

/** The layers behind one edge: `w_2`, or, where a sum leads to several, `w_2+w_T`; of more than three the ends. */
function consumerName(stage: Stage, consumers: readonly number[]): string {
  const names = consumers.map((layer) => `w_${stage.layers[layer].name}`);
  if (names.length === 0) return outside;
  return names.length > 3 ? `${names[0]}+…+${names[names.length - 1]}` : names.join("+");
}

/** Works out a stage of a training step whose forward pass was traced. */
export function planStage(traced: Traced, selection: StageSelection): PlannedStage {
  const { graph } = traced;
  const stage = analyzeStage(traced, selection);
  const maps = stage.maps.map(({ name, side }, map): PlannedMap => {
    const pieces = stage.edges
      .filter((edge) => edge.map === map)
      .map(
        ({ node, slot, consumers }): PlannedPiece => ({
          node,
          slot,
          consumer: consumerName(stage, consumers),
          layers: consumers,
          weight: consumers.length === 1 ? weightPart(graph, stage, consumers[0], map) : null,
        }),
      );
    return {
      name,
      pieces,
      compared: pieces.length > 1 && pieces.some(({ consumer }) => consumer !== outside),
      side: sideOf(name, side),
    };
  });
  return { name: selection.name, stage, maps };
}

/** Only the parts of the stage's input have a side's gradient; a stage with one side has none. */
function sideOf(name: string, side: Side): PlannedMap["side"] {
  return name.startsWith("0'") && side !== "main" ? side : null;
}

/** Which input of a weighted op is its weight, by op: [K, C/groups, R, S], or [C, K] of a matrix product. */
const weightSlots: Readonly<Record<string, number>> = {
  conv2d: 1,
  conv2dRelu: 1,
  normReluConv2d: 3,
  matmul: 1,
};

function weightPart(graph: Graph, stage: Stage, layer: number, map: number): WeightPart | null {
  const { node, reads } = stage.layers[layer];
  const { op, inputs } = graph.nodes[node];
  const slot = weightSlots[op];
  if (slot === undefined) return null;
  const weight = graph.values[inputs[slot]];
  // What is not a parameter itself (a weight that was scaled first) has no gradient of its own to look at.
  if (weight.parameter === null) return null;
  const channelsOf = (index: number): number => stage.maps[index].shape[1];
  const range = rangeOf(reads, map, channelsOf);
  const rows = weight.shape[op === "matmul" ? 0 : 1];
  // Grouped weights see a part of the channels each, and a flattened image has several rows a channel.
  return range && widthOf(reads, channelsOf) === rows ? { node, slot, ...range } : null;
}

/** Channels that a reading has. */
function widthOf(reading: Reading, channelsOf: (map: number) => number): number {
  if (reading.kind === "map") return channelsOf(reading.map);
  const widths = reading.parts.map((part) => widthOf(part, channelsOf));
  return reading.kind === "concat" ? widths.reduce((sum, n) => sum + n, 0) : Math.max(...widths);
}

/** The channels of a reading that hold a map; null where it is not, or in several places. */
function rangeOf(
  reading: Reading,
  map: number,
  channelsOf: (map: number) => number,
): { from: number; to: number } | null {
  if (reading.kind === "map") return reading.map === map ? { from: 0, to: channelsOf(map) } : null;
  let start = 0;
  const found: { from: number; to: number }[] = [];
  for (const part of reading.parts) {
    const inner = rangeOf(part, map, channelsOf);
    if (inner) found.push({ from: start + inner.from, to: start + inner.to });
    if (reading.kind === "concat") start += widthOf(part, channelsOf);
  }
  return found.length === 1 ? found[0] : null;
}
