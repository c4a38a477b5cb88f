/** How a stage's input is parted into the side that goes around the block and the side that goes through it. */
import type { CollapsedStage } from "./collapse.ts";
import { mapsOf, type Reading } from "./reading.ts";

/** The two sides of a stage; empty lists where it has one. */
export interface Split {
  /** The maps that go around the block. */
  readonly bypass: readonly number[];
  /** The 1x1 convolutions that make the two sides, that of the bypass first; none where the sides are slices. */
  readonly layers: readonly number[];
}

/**
 * A stage parts its input by channel slices (the paper's figure 2), or by two 1x1 convolutions of all of it (the
 * paper's networks). The side with fewer layers before it goes around the block.
 */
export function splitOf(stage: CollapsedStage): Split {
  const ahead = layersAhead(stage);
  const slices = stage.maps.flatMap(({ slice }, map) =>
    slice && stage.maps[slice.of].layer === null ? [map] : [],
  );
  if (slices.length > 0) {
    const most = Math.max(...slices.map((map) => ahead[map]));
    return { bypass: slices.filter((map) => ahead[map] < most), layers: [] };
  }
  return splitByLayers(stage, ahead) ?? { bypass: [], layers: [] };
}

/** For every map the most layers that lie between it and the end of the stage. */
function layersAhead({ maps, layers }: CollapsedStage): number[] {
  const ahead = maps.map(() => 0);
  for (const { reads, output } of [...layers].reverse())
    for (const map of mapsOf(reads)) ahead[map] = Math.max(ahead[map], ahead[output] + 1);
  return ahead;
}

/** Two different 1x1 convolutions are all that reads the input, and what one makes only waits in concatenations. */
function splitByLayers(stage: CollapsedStage, ahead: readonly number[]): Split | null {
  const { maps, layers, output } = stage;
  const input = maps.findIndex(({ layer, slice }) => layer === null && !slice);
  const readers = layers.flatMap(({ reads }, i) => (mapsOf(reads).includes(input) ? [i] : []));
  const isPart = (i: number): boolean => layers[i].isPointwise && layers[i].reads.kind === "map";
  const weights = new Set(readers.map((i) => layers[i].weights.join()));
  if (readers.length !== 2 || weights.size !== 2 || !readers.every(isPart)) return null;
  const readings = [...layers.map(({ reads }) => reads), ...(output ? [output] : [])];
  if (output && mapsOf(output).includes(input)) return null;
  const [bypass, block] = [...readers].sort((a, b) => ahead[layers[a].output] - ahead[layers[b].output]);
  const around = layers[bypass].output;
  const waits = readings.filter((reading) => mapsOf(reading).includes(around));
  const isFewer = ahead[around] < ahead[layers[block].output];
  return isFewer && waits.length > 0 && waits.every((reading) => isJoined(reading, around))
    ? { bypass: [around], layers: [bypass, block] }
    : null;
}

/** Whether `map` is in the reading as a part of a concatenation only. */
function isJoined(reading: Reading, map: number): boolean {
  return (
    reading.kind === "concat" &&
    reading.parts.every((part) => part.kind === "map" || !mapsOf(part).includes(map))
  );
}
