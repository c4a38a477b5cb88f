/** A whole network: its stages with their equations and counts, what crosses between them, and every gradient path. */
import { type TraceInput, trace } from "../graph/index.ts";
import type { Module } from "../nn/index.ts";
import { type Arrival, type ArrivalSummary, gradientArrivals, summarizeArrivals } from "./arrivals.ts";
import { type StageEquations, stageEquations } from "./notation.ts";
import { mapsOf } from "./reading.ts";
import type { Traced } from "./selection.ts";
import { analyzeStage, type Stage, type StageSelection, wholeOf } from "./stage.ts";
import { type PathCount, type StageStructure, shareGradient, stageStructure } from "./structure.ts";

/** One stage of a network on the level of the paper, with what its maps have to do with the layers behind it. */
export interface NetworkStage {
  readonly stage: Stage;
  readonly equations: StageEquations;
  readonly structure: StageStructure;
  /**
   * Pairs of one weight of each side that share a gradient, when the layers that read the stage's output are counted
   * too: where a transition belongs to the next stage (fusion first in the paper's networks), the sides meet there.
   */
  readonly duplicatesAcrossBehind: number;
}

/** A feature map that layers of another stage read. */
export interface Crossing {
  /** By index, among the maps of the network; a part where the other stage reads only that. */
  readonly map: number;
  /** The stage of the layer that makes it; null for the network's input and for layers of no stage (stem, head). */
  readonly from: string | null;
  /** Who reads it elsewhere, one entry a stage. */
  readonly to: readonly { readonly stage: string | null; readonly layers: readonly number[] }[];
  /** Gradient paths from the end of the network to the map, lengths in layers. */
  readonly paths: PathCount;
  /** Bytes per image of the gradient pieces that come back from other stages, in f32. */
  readonly gradientBytes: number;
}

/** What can be told of a network from its graph. */
export interface NetworkStructure {
  /**
   * The network as one stage, every weighted op a layer: bottlenecks are not taken for one layer here, since a gradient
   * needs time for both convolutions.
   */
  readonly network: Stage;
  /** Reuse, duplicates and paths of all its maps. */
  readonly structure: StageStructure;
  /** Timestamps and sources, one row a layer of `network`. */
  readonly arrivals: readonly Arrival[];
  readonly summary: ArrivalSummary;
  readonly stages: readonly NetworkStage[];
  readonly crossings: readonly Crossing[];
}

/** The stages that a network names itself, as those of gradweave/models do. */
interface Staged {
  readonly stages: readonly StageSelection[];
}

const isStaged = (module: object): module is Staged => "stages" in module && Array.isArray(module.stages);

/**
 * Traces a network for inputs of one shape and counts everything on its graph, in less than a second for the deepest:
 * nothing is computed or enumerated. `stages` are by default the network's own, or else none. Throws like `trace`, and
 * for a stage with a path that does not exist.
 *
 *     const { stages, summary } = networkStructure(createModel("densenet-264"), [1, 3, 224, 224]);
 */
export function networkStructure(
  model: Module,
  input: TraceInput,
  stages: readonly StageSelection[] = isStaged(model) ? model.stages : [],
): NetworkStructure {
  return structureOfTrace(trace(model, input), stages);
}

/** As `networkStructure`, of a network that is traced already. */
export function structureOfTrace(traced: Traced, selections: readonly StageSelection[]): NetworkStructure {
  const network = analyzeStage(traced, { name: "network", paths: [""] }, { bottlenecks: false });
  const structure = stageStructure(network);
  const arrivals = gradientArrivals(network);
  return {
    network,
    structure,
    arrivals,
    summary: summarizeArrivals(network, arrivals),
    stages: selections.map((selection) => networkStage(traced, selection)),
    crossings: crossingsOf(network, structure, selections),
  };
}

function networkStage(traced: Traced, selection: StageSelection): NetworkStage {
  const stage = analyzeStage(traced, selection);
  const structure = stageStructure(stage);
  const behind = stage.weights.some(({ side }) => side === "dense")
    ? acrossBehind(traced, selection, stage)
    : 0;
  return {
    stage,
    equations: stageEquations(stage),
    structure,
    duplicatesAcrossBehind: structure.duplicatesAcross + behind,
  };
}

/** Pairs of a weight of the dense side, and one behind the stage that reads the other side and shares a gradient with it. */
function acrossBehind(traced: Traced, selection: StageSelection, stage: Stage): number {
  const further = analyzeStage(traced, selection, { behind: true });
  const own = new Map(stage.maps.map(({ made }, map) => [made, map]));
  const dense = stage.weights.filter(({ side }) => side === "dense").map(({ sources }) => sources);
  const known = new Set(stage.weights.map(({ parameters }) => parameters.join()));
  return further.weights
    .filter(({ parameters }) => !known.has(parameters.join()))
    .map(({ sources }) => sources.flatMap((map) => own.get(further.maps[map].made) ?? []))
    .filter((read) => read.some((map) => stage.maps[map].side === "bypass"))
    .reduce((sum, read) => sum + dense.filter((sources) => shareGradient(stage, sources, read)).length, 0);
}

function crossingsOf(
  network: Stage,
  { paths }: StageStructure,
  selections: readonly StageSelection[],
): Crossing[] {
  const stageOf = network.layers.map(
    ({ modulePath }) =>
      selections.find((selection) =>
        selection.paths.some(
          (path) => path === "" || modulePath === path || modulePath.startsWith(`${path}.`),
        ),
      )?.name ?? null,
  );
  const readers = network.maps.map(() => new Map<string | null, number[]>());
  network.layers.forEach(({ sources }, layer) => {
    for (const map of sources) {
      const known = readers[map].get(stageOf[layer]);
      if (known) known.push(layer);
      else readers[map].set(stageOf[layer], [layer]);
    }
  });
  const leaving = new Set(network.output ? mapsOf(network.output) : []);
  return paths.flatMap((counted): Crossing[] => {
    const { map } = counted;
    const { shape } = network.maps[map];
    const { layer } = network.maps[wholeOf(network, map)];
    const from = layer === null ? null : stageOf[layer];
    const to = [...readers[map]]
      .filter(([stage]) => stage !== from)
      .map(([stage, layers]) => ({ stage, layers }));
    if (to.length === 0) return [];
    const elements = shape.slice(1).reduce((product, extent) => product * extent, 1);
    const pieces = to.reduce((sum, { layers }) => sum + layers.length, leaving.has(map) ? 1 : 0);
    return [{ map, from, to, paths: counted, gradientBytes: 4 * elements * pieces }];
  });
}
