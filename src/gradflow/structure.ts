/**
 * What can be counted on a stage without training: which gradients update which weights, how often each is used
 * again, and how many paths lead from the end of the stage to every feature map. Counted on the graph by dynamic
 * programming, never by enumeration: the number of paths grows as 2^k.
 */
import { mapsOf } from "./reading.ts";
import { overlap, readMaps, type Stage, type Weight, wholeOf } from "./stage.ts";

/** Weights that a gradient reaches: its reuse. */
export interface Reuse {
  readonly map: number;
  /** Weights whose gradient set holds it, by index, each once however often it is used. */
  readonly weights: readonly number[];
  /** Layers that read the map, by index: more than weights where one of them is used again. */
  readonly layers: readonly number[];
}

/** Two weights updated with the same gradient. */
export interface DuplicatePair {
  readonly map: number;
  /** By index. */
  readonly weights: readonly [number, number];
  /** One weight on either side of the stage. */
  readonly across: boolean;
}

export interface PathCount {
  readonly map: number;
  /** Directed paths from the end of the stage to the map that differ in the layers they pass. */
  readonly count: bigint;
  /** Weighted layers on the shortest and on the longest path. */
  readonly shortest: number;
  readonly longest: number;
}

export interface StageStructure {
  readonly reuse: readonly Reuse[];
  /** Σ over gradients of (weights reached − 1), where any is reached. */
  readonly duplicates: number;
  /** The same sum with every term times the map's channels. */
  readonly duplicatesByChannels: number;
  /** Distinct pairs of weights of one side that share a gradient, or channels of one. */
  readonly duplicatesWithin: number;
  /** Distinct pairs of one weight of each side that do. */
  readonly duplicatesAcross: number;
  readonly paths: readonly PathCount[];
  /** Bytes per image of gradient pieces beyond the first of their map: written and added only because it is read again. */
  readonly duplicateBytes: number;
}

const bytesPerElement = 4;

/** Counts the structure of a stage. */
export function stageStructure(stage: Stage): StageStructure {
  const maps = readMaps(stage);
  const reuse = reuseOf(stage, maps);
  const again = ({ weights }: Reuse) => Math.max(0, weights.length - 1);
  const sumOf = (weight: (entry: Reuse) => number) =>
    reuse.reduce((sum, entry) => sum + again(entry) * weight(entry), 0);
  const leaving = new Set(stage.output ? mapsOf(stage.output) : []);
  return {
    reuse,
    duplicates: sumOf(() => 1),
    duplicatesByChannels: sumOf(({ map }) => stage.maps[map].shape[1]),
    ...countPairs(stage),
    paths: countPaths(stage, maps, leaving),
    duplicateBytes: reuse.reduce((sum, { map, layers }) => {
      const [, ...extents] = stage.maps[map].shape;
      const pieces = layers.length + (leaving.has(map) ? 1 : 0);
      return sum + Math.max(0, pieces - 1) * extents.reduce((product, n) => product * n, bytesPerElement);
    }, 0),
  };
}

/** Who reads each of `maps`. */
function reuseOf(stage: Stage, maps: readonly number[]): Reuse[] {
  const readers = stage.maps.map(() => ({ weights: [] as number[], layers: [] as number[] }));
  stage.weights.forEach(({ sources }, weight) => {
    for (const map of sources) readers[map].weights.push(weight);
  });
  stage.layers.forEach(({ sources }, layer) => {
    for (const map of sources) readers[map].layers.push(layer);
  });
  return maps.map((map) => ({ map, ...readers[map] }));
}

const areAcross = (a: Weight, b: Weight): boolean =>
  (a.side === "dense" && b.side === "bypass") || (a.side === "bypass" && b.side === "dense");

/** Whether two weights share a gradient, or channels of one: a part of a map is updated with a part of its gradient. */
export function shareGradient(stage: Stage, a: readonly number[], b: readonly number[]): boolean {
  return a.some((map) => b.some((other) => overlap(stage, map, other)));
}

/** Pairs of weights that share a gradient, by whether they are on two sides. Sets of maps are bits: deep stages have many. */
function countPairs(stage: Stage): { duplicatesWithin: number; duplicatesAcross: number } {
  const bit = (map: number): bigint => 1n << BigInt(map);
  const wholes = new Map<number, number[]>();
  stage.maps.forEach((_, map) => {
    const whole = wholeOf(stage, map);
    wholes.set(whole, [...(wholes.get(whole) ?? []), map]);
  });
  const overlapping = stage.maps.map((_, map) =>
    (wholes.get(wholeOf(stage, map)) ?? [])
      .filter((other) => overlap(stage, map, other))
      .reduce((bits, other) => bits | bit(other), 0n),
  );
  const union = (maps: readonly number[], of: (map: number) => bigint): bigint =>
    maps.reduce((bits, map) => bits | of(map), 0n);
  const read = stage.weights.map(({ sources }) => union(sources, bit));
  const touched = stage.weights.map(({ sources }) => union(sources, (map) => overlapping[map]));
  let [duplicatesWithin, duplicatesAcross] = [0, 0];
  stage.weights.forEach((a, i) => {
    for (let j = 0; j < i; j++) {
      if ((read[i] & touched[j]) === 0n) continue;
      if (areAcross(a, stage.weights[j])) duplicatesAcross += 1;
      else duplicatesWithin += 1;
    }
  });
  return { duplicatesWithin, duplicatesAcross };
}

/**
 * Every two weights that are updated with the same gradient, once a gradient: about k³ / 6 of them in a dense block of
 * k layers, which is why `stageStructure` counts them without listing them.
 */
export function duplicatePairs({ weights }: Stage, reuse: readonly Reuse[]): DuplicatePair[] {
  return reuse.flatMap(({ map, weights: reached }) =>
    reached.flatMap((a, i) =>
      reached
        .slice(i + 1)
        .map((b): DuplicatePair => ({ map, weights: [a, b], across: areAcross(weights[a], weights[b]) })),
    ),
  );
}

/**
 * A map's paths: one where it leaves the stage itself, and those of every layer that reads it, one layer longer. Who
 * reads a part of a map reads the map, too.
 */
function countPaths(stage: Stage, maps: readonly number[], leaving: ReadonlySet<number>): PathCount[] {
  const withWholes = (some: Iterable<number>): Set<number> =>
    new Set([...some].flatMap((map) => [map, wholeOf(stage, map)]));
  const ends = withWholes(leaving);
  const known = stage.maps.map((_, map) => ({ count: ends.has(map) ? 1n : 0n, shortest: 0, longest: 0 }));
  // From the last layer to the first: what a layer makes is complete before what it reads.
  for (const { sources, output } of [...stage.layers].reverse()) {
    const through = known[output];
    if (through.count === 0n) continue;
    for (const map of withWholes(sources)) {
      const { count, shortest, longest } = known[map];
      known[map] = {
        count: count + through.count,
        shortest: count === 0n ? through.shortest + 1 : Math.min(shortest, through.shortest + 1),
        longest: Math.max(longest, through.longest + 1),
      };
    }
  }
  return maps.map((map) => ({ map, ...known[map] }));
}
