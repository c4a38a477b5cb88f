/**
 * What can be counted on a stage without training: which gradients update which weights, how often each is used
 * again, and how many paths lead from the end of the stage to every feature map. Counted on the graph by dynamic
 * programming, never by enumeration: the number of paths grows as 2^k.
 */
import { mapsOf } from "./reading.ts";
import { readMaps, type Stage } from "./stage.ts";

/** Weights that a gradient reaches: its reuse. */
export interface Reuse {
  readonly map: number;
  /** Layers, by index. */
  readonly layers: readonly number[];
}

/** Two weights updated with the same gradient. */
export interface DuplicatePair {
  readonly map: number;
  readonly layers: readonly [number, number];
  /** One weight on either side of the stage. */
  readonly across: boolean;
}

export interface PathCount {
  readonly map: number;
  /** Directed paths from the end of the stage to the map. */
  readonly count: bigint;
  /** Weighted layers on the shortest and on the longest path. */
  readonly shortest: number;
  readonly longest: number;
}

export interface StageStructure {
  readonly reuse: readonly Reuse[];
  readonly pairs: readonly DuplicatePair[];
  /** Σ over gradients of (weights reached − 1), where any is reached. */
  readonly duplicates: number;
  /** The same sum with every term times the map's channels. */
  readonly duplicatesByChannels: number;
  /** Distinct pairs of one weight of each side that share a gradient. */
  readonly duplicatesAcross: number;
  readonly paths: readonly PathCount[];
  /** Bytes per image of gradient pieces beyond the first of their map: written and added only because it is read again. */
  readonly duplicateBytes: number;
}

const bytesPerElement = 4;

/** Counts the structure of a stage. */
export function stageStructure(stage: Stage): StageStructure {
  const maps = readMaps(stage);
  const reuse = maps.map((map) => ({
    map,
    layers: stage.layers.flatMap(({ sources }, i) => (sources.includes(map) ? [i] : [])),
  }));
  const pairs = reuse.flatMap(({ map, layers }) =>
    layers.flatMap((a, i) =>
      layers.slice(i + 1).map(
        (b): DuplicatePair => ({
          map,
          layers: [a, b],
          across: stage.layers[a].side !== stage.layers[b].side,
        }),
      ),
    ),
  );
  const again = ({ layers }: Reuse) => Math.max(0, layers.length - 1);
  const sumOf = (weight: (entry: Reuse) => number) =>
    reuse.reduce((sum, entry) => sum + again(entry) * weight(entry), 0);
  const leaving = stage.output ? mapsOf(stage.output) : [];
  return {
    reuse,
    pairs,
    duplicates: sumOf(() => 1),
    duplicatesByChannels: sumOf(({ map }) => stage.maps[map].shape[1]),
    duplicatesAcross: new Set(pairs.filter(({ across }) => across).map(({ layers }) => layers.join())).size,
    paths: countPaths(stage, maps, leaving),
    duplicateBytes: reuse.reduce((sum, { map, layers }) => {
      const [, ...extents] = stage.maps[map].shape;
      const pieces = layers.length + (leaving.includes(map) ? 1 : 0);
      return sum + Math.max(0, pieces - 1) * extents.reduce((product, n) => product * n, bytesPerElement);
    }, 0),
  };
}

/** A map's paths: one where it leaves the stage itself, and those of every layer that reads it, one layer longer. */
function countPaths(stage: Stage, maps: readonly number[], leaving: readonly number[]): PathCount[] {
  const known = new Map<number, PathCount>();
  const visit = (map: number): PathCount => {
    const done = known.get(map);
    if (done) return done;
    const ends = leaving.includes(map) ? [{ count: 1n, shortest: 0, longest: 0 }] : [];
    const through = stage.layers
      .filter(({ sources }) => sources.includes(map))
      .map(({ output }) => visit(output))
      .map(({ count, shortest, longest }) => ({ count, shortest: shortest + 1, longest: longest + 1 }));
    const all = [...ends, ...through].filter(({ count }) => count > 0n);
    const result = {
      map,
      count: all.reduce((sum, { count }) => sum + count, 0n),
      shortest: all.length > 0 ? Math.min(...all.map(({ shortest }) => shortest)) : 0,
      longest: Math.max(0, ...all.map(({ longest }) => longest)),
    };
    known.set(map, result);
    return result;
  };
  return maps.map(visit);
}
