/**
 * Names in the paper's notation, and which side of a stage everything is on.
 *
 * The stage's input is x_0, its channel slices x_0', x_0''. A transition brings several maps together, and everything
 * that they are made of goes through it: x_T, or x_U when a part of the input that went around the block is among
 * them. All other layers are numbered (x_1, x_2, …: dense layers, residual branches, the links of a chain). Where two
 * 1x1 convolutions of x_0 stand for the slices, as in the paper's networks, they are w_A, which makes x_0', and w_B.
 */
import type { CollapsedStage } from "./collapse.ts";
import { mapsOf } from "./reading.ts";
import { type Split, splitOf } from "./split.ts";

/**
 * `main`: the stage has one side, or has not parted yet. `bypass`: depends on the part that goes around the block.
 * `dense`: the rest.
 */
export type Side = "main" | "dense" | "bypass";

export interface StageNames {
  /** What stands behind `x_` and `g_`, by map: `0''`, `2`, `T`. */
  readonly maps: readonly string[];
  /** What stands behind `w_`, by layer, each different: layers that use one weight are not named alike here. */
  readonly layers: readonly string[];
  readonly mapSides: readonly Side[];
  readonly layerSides: readonly Side[];
}

/** Names everything in a stage. */
export function nameStage(stage: CollapsedStage): StageNames {
  const upstream = upstreamMaps(stage);
  const split = splitOf(stage);
  const around = new Set(split.bypass);
  const isSplitting = (layer: number): boolean => split.layers.includes(layer);
  const layerSides = upstream.map((maps, layer): Side => {
    if (around.size === 0 || isSplitting(layer)) return "main";
    return [...maps].some((map) => around.has(map)) ? "bypass" : "dense";
  });
  const layers = nameLayers(stage, upstream, layerSides, split);
  return {
    layers,
    layerSides,
    maps: nameMaps(stage, layers, split),
    mapSides: stage.maps.map(({ layer, slice }, map): Side => {
      if (around.size === 0) return "main";
      if (around.has(map)) return "bypass";
      if (layer === null) return slice ? "dense" : sideOfWhole(split);
      return isSplitting(layer) ? "dense" : layerSides[layer];
    }),
  };
}

/** The input as a whole is before the sides where layers part it; where it is sliced, what reads it all is dense. */
const sideOfWhole = (split: Split): Side => (split.layers.length > 0 ? "main" : "dense");

/** For every layer the maps that its output is made of, back to the stage's inputs and to channel slices. */
function upstreamMaps({ maps, layers }: CollapsedStage): ReadonlySet<number>[] {
  const upstream: ReadonlySet<number>[] = [];
  for (const { reads } of layers) {
    const read = mapsOf(reads);
    const further = read.flatMap((map) => {
      const { layer } = maps[map];
      return layer === null ? [] : [...upstream[layer]];
    });
    upstream.push(new Set([...read, ...further]));
  }
  return upstream;
}

/** Whether a layer reads several maps, and nothing that they are made of reaches the stage's end past the layer. */
function isTransition(
  { layers, output }: CollapsedStage,
  layer: number,
  upstream: readonly ReadonlySet<number>[],
): boolean {
  if (layers[layer].reads.kind === "map") return false;
  const before = upstream[layer];
  const isBefore = (map: number): boolean => before.has(map);
  const elsewhere = [
    ...layers.filter((other, i) => i !== layer && !isBefore(other.output)).map(({ reads }) => mapsOf(reads)),
    ...(output ? [mapsOf(output)] : []),
  ];
  return !elsewhere.some((read) => read.some(isBefore));
}

function nameLayers(
  stage: CollapsedStage,
  upstream: readonly ReadonlySet<number>[],
  sides: readonly Side[],
  { layers: splitting }: Split,
): string[] {
  let number = 0;
  const taken = new Map<string, number>();
  return stage.layers.map((_, layer) => {
    if (splitting.includes(layer)) return layer === splitting[0] ? "A" : "B";
    if (!isTransition(stage, layer, upstream)) {
      number += 1;
      return String(number);
    }
    const letter = sides[layer] === "bypass" ? "U" : "T";
    const count = (taken.get(letter) ?? 0) + 1;
    taken.set(letter, count);
    return count === 1 ? letter : `${letter}${count}`;
  });
}

function nameMaps(stage: CollapsedStage, layers: readonly string[], split: Split): string[] {
  const names: string[] = [];
  let inputs = 0;
  stage.maps.forEach(({ layer, slice }, map) => {
    if (layer !== null && split.layers.includes(layer)) names[map] = layer === split.layers[0] ? "0'" : "0''";
    else if (layer !== null) names[map] = layers[layer];
    else if (!slice) {
      names[map] = inputs === 0 ? "0" : `0${String.fromCharCode(96 + inputs)}`;
      inputs += 1;
    }
  });
  // Parts are primed in the order of their channels.
  stage.maps.forEach(({ slice }, map) => {
    if (!slice) return;
    const before = stage.maps.filter(
      (other, i) =>
        other.slice?.of === slice.of &&
        (other.slice.from - slice.from || other.slice.to - slice.to || i - map) < 0,
    );
    names[map] = names[slice.of] + "'".repeat(before.length + 1);
  });
  return names;
}
