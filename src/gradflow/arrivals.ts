/**
 * When gradients arrive at a layer and which layers send them: the timestamps and sources of the gradient combination
 * (Wang et al., "Enriching Variety of Layer-wise Learning Information by Gradient Combination", ICCVW 2019; "Designing
 * Network Design Strategies Through Gradient Path Analysis", arXiv 2211.04800). A gradient needs one unit of time for a
 * weighted layer and none for what is collapsed: norms, activations, concatenations, sums.
 *
 * This is the other side of the gradient set: S(w) is what a layer reads, these are the consumers of what it makes.
 */
import { mapsOf, type Reading } from "./reading.ts";
import { type Stage, wholeOf } from "./stage.ts";

/** What arrives at one layer, for the gradient of its weight. */
export interface Arrival {
  readonly layer: number;
  /** Layers that send a gradient to what this one makes, by index; null is the end of the stage, the loss. */
  readonly sources: readonly (number | null)[];
  /**
   * Its timestamps, as ranges, both ends included: t is among them when a path from the end to the layer crosses t − 1
   * others, so that the last layer has 1. Empty when no gradient arrives.
   */
  readonly times: readonly (readonly [from: number, to: number])[];
  /** How many timestamps. */
  readonly timeCount: number;
  /** Shortest and longest gradient path, in layers with this one; 0 when there is none. */
  readonly shortest: number;
  readonly longest: number;
  /** Distinct gradient paths. */
  readonly paths: bigint;
  /** Layers that get gradients at the same times from the same sources have the same number: they learn the same. */
  readonly combination: number;
}

/** One row a layer, in the order of execution, counted by dynamic programming. Who reads a part of a map reads the map. */
export function gradientArrivals(stage: Stage): Arrival[] {
  const { layers, maps, output } = stage;
  const readers: (number | null)[][] = maps.map(() => []);
  // A set bit t: gradients arrive at what the layer makes after t layers.
  const times = maps.map(() => 0n);
  const paths = maps.map(() => 0n);
  const wholes = (some: readonly number[]): Set<number> => new Set(some.map((map) => wholeOf(stage, map)));
  for (const map of wholes(output ? mapsOf(output) : [])) {
    times[map] = 1n;
    paths[map] = 1n;
    readers[map].push(null);
  }
  for (let layer = layers.length - 1; layer >= 0; layer--) {
    const { sources, output: made } = layers[layer];
    for (const map of wholes(sources)) {
      times[map] |= times[made] << 1n;
      paths[map] += paths[made];
      readers[map].push(layer);
    }
  }
  const combinations = new Map<string, number>();
  return layers.map(({ output: made }, layer): Arrival => {
    // A layer that leads nowhere sends nothing.
    const sources = readers[made]
      .filter((reader) => reader === null || times[layers[reader].output] > 0n)
      .reverse();
    const key = sources.join();
    if (!combinations.has(key)) combinations.set(key, combinations.size);
    const ranges = rangesOf(times[made] << 1n);
    return {
      layer,
      sources,
      times: ranges,
      timeCount: ranges.reduce((sum, [from, to]) => sum + to - from + 1, 0),
      shortest: ranges[0]?.[0] ?? 0,
      longest: ranges.at(-1)?.[1] ?? 0,
      paths: paths[made],
      combination: combinations.get(key) ?? 0,
    };
  });
}

/** The runs of set bits. */
function rangesOf(bits: bigint): [number, number][] {
  const text = bits.toString(2);
  return [...text.matchAll(/1+/g)]
    .map(({ index, 0: run }): [number, number] => [text.length - index - run.length, text.length - index - 1])
    .reverse();
}

/** A network's gradient paths in a few figures, as the papers compare networks. */
export interface ArrivalSummary {
  readonly layers: number;
  /** Longest gradient path. */
  readonly longest: number;
  /** The longest of all layers' shortest paths, which 2211.04800 says to keep small. */
  readonly longestShortest: number;
  readonly meanShortest: number;
  readonly meanTimes: number;
  readonly meanSources: number;
  /** log₁₀ of the number of gradient paths to the first layer. */
  readonly log10Paths: number;
  /**
   * The structural share of duplicate gradient: mean of |S(a) ∩ S(b)| / |S(a) ∪ S(b)| over pairs of layers, S the
   * sources, whose outputs have one resolution and enter, unpooled, a concatenation or a combination. Null without
   * such a pair.
   */
  readonly sharedSources: number | null;
}

/** Summarises the layers that gradients arrive at. */
export function summarizeArrivals(stage: Stage, arrivals: readonly Arrival[]): ArrivalSummary {
  const reached = arrivals.filter(({ paths }) => paths > 0n);
  const mean = (of: (arrival: Arrival) => number): number =>
    reached.length === 0 ? 0 : reached.reduce((sum, arrival) => sum + of(arrival), 0) / reached.length;
  return {
    layers: reached.length,
    longest: Math.max(0, ...reached.map(({ longest }) => longest)),
    longestShortest: Math.max(0, ...reached.map(({ shortest }) => shortest)),
    meanShortest: mean(({ shortest }) => shortest),
    meanTimes: mean(({ timeCount }) => timeCount),
    meanSources: mean(({ sources }) => sources.length),
    log10Paths: reached.length === 0 ? 0 : log10(reached[0].paths),
    sharedSources: sharedSources(stage, reached),
  };
}

/** log₁₀ of a positive integer of any size, to the precision of a double. */
export function log10(value: bigint): number {
  if (value <= 0n) throw new RangeError(`log10: ${value} is not positive`);
  const text = value.toString();
  const leading = text.slice(0, 17);
  return Math.log10(Number(leading)) + (text.length - leading.length);
}

function sharedSources(stage: Stage, arrivals: readonly Arrival[]): number | null {
  const mixed = mixedMaps(stage);
  const groups = new Map<string, ReadonlySet<number | null>[]>();
  for (const { layer, sources } of arrivals) {
    const { output, outputShape } = stage.layers[layer];
    const size = outputShape.slice(2).join();
    const isShared = mixed.has(output) && stage.maps[output].shape.slice(2).join() === size;
    if (isShared) groups.set(size, [...(groups.get(size) ?? []), new Set(sources)]);
  }
  let [sum, pairs] = [0, 0];
  for (const group of groups.values())
    group.forEach((a, i) => {
      for (const b of group.slice(0, i)) {
        const common = [...a].filter((source) => b.has(source)).length;
        sum += common / (a.size + b.size - common);
        pairs += 1;
      }
    });
  return pairs === 0 ? null : sum / pairs;
}

/** Maps that are read, or given out, together with others. */
function mixedMaps({ layers, output }: Stage): Set<number> {
  const readings: Reading[] = [...layers.map(({ reads }) => reads), ...(output ? [output] : [])];
  return new Set(readings.flatMap((reading) => (reading.kind === "map" ? [] : mapsOf(reading))));
}
