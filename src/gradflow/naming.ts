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
  const upstream = overUpstream(stage, (map) => 1n << BigInt(map));
  const split = splitOf(stage);
  const around = new Set(split.bypass);
  const bypass = setOf(around);
  const isSplitting = (layer: number): boolean => split.layers.includes(layer);
  const layerSides = upstream.map((maps, layer): Side => {
    if (around.size === 0 || isSplitting(layer)) return "main";
    return (maps & bypass) === 0n ? "dense" : "bypass";
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

/** A set of maps as bits: a deep network has hundreds of layers, and each is made of hundreds of maps. */
const setOf = (maps: Iterable<number>): bigint => {
  let bits = 0n;
  for (const map of maps) bits |= 1n << BigInt(map);
  return bits;
};

/** For every layer the union of `of` over the maps that its output is made of, back to the inputs and their slices. */
function overUpstream({ maps, layers }: CollapsedStage, of: (map: number) => bigint): bigint[] {
  const union: bigint[] = [];
  for (const { reads } of layers) {
    let bits = 0n;
    for (const map of mapsOf(reads)) {
      const { layer } = maps[map];
      bits |= of(map) | (layer === null ? 0n : union[layer]);
    }
    union.push(bits);
  }
  return union;
}

/**
 * The layers that read several maps, and nothing that these are made of reaches the stage's end past the layer. What
 * parts the stage's input into its sides stands before both.
 */
function transitionsOf(stage: CollapsedStage, upstream: readonly bigint[], split: Split): boolean[] {
  const { maps, layers, output } = stage;
  const madeFrom = maps.map(() => 0n);
  for (const { reads, output: made } of layers)
    for (const map of mapsOf(reads)) madeFrom[map] |= 1n << BigInt(made);
  const read = overUpstream(stage, (map) => madeFrom[map]);
  const leaving = setOf(output ? mapsOf(output) : []);
  const parts = setOf(split.layers.map((layer) => layers[layer].output));
  return layers.map(({ reads, output: made }, layer) => {
    const through = upstream[layer] | (1n << BigInt(made)) | parts;
    return reads.kind !== "map" && (upstream[layer] & leaving) === 0n && (read[layer] & ~through) === 0n;
  });
}

function nameLayers(
  stage: CollapsedStage,
  upstream: readonly bigint[],
  sides: readonly Side[],
  split: Split,
): string[] {
  let number = 0;
  const taken = new Map<string, number>();
  const transitions = transitionsOf(stage, upstream, split);
  return stage.layers.map((_, layer) => {
    if (split.layers.includes(layer)) return layer === split.layers[0] ? "A" : "B";
    if (!transitions[layer]) {
      number += 1;
      return String(number);
    }
    const letter = sides[layer] === "bypass" ? "U" : "T";
    const count = (taken.get(letter) ?? 0) + 1;
    taken.set(letter, count);
    return count === 1 ? letter : `${letter}${count}`;
  });
}

/** 0: nothing, 1: a, …, 26: z, 27: aa, … */
function letters(count: number): string {
  return count === 0
    ? ""
    : letters(Math.floor((count - 1) / 26)) + String.fromCharCode(97 + ((count - 1) % 26));
}

function nameMaps(stage: CollapsedStage, layers: readonly string[], split: Split): string[] {
  const names: string[] = [];
  let inputs = 0;
  stage.maps.forEach(({ layer, slice }, map) => {
    if (layer !== null && split.layers.includes(layer)) names[map] = layer === split.layers[0] ? "0'" : "0''";
    else if (layer !== null) names[map] = layers[layer];
    else if (!slice) {
      names[map] = `0${letters(inputs)}`;
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
