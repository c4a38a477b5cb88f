/**
 * Names in the paper's notation, and which side of a stage everything is on.
 *
 * The stage's input is x_0, its channel slices x_0', x_0''. A weighted layer whose output is later combined with
 * something that the layer itself read is numbered (x_1, x_2, …: dense layers, residual branches); any other is a
 * transition: x_T, or x_U when it reads a part of the input that went around the numbered layers.
 */
import type { CollapsedStage } from "./collapse.ts";
import { mapsOf, type Reading } from "./reading.ts";

/** `main`: the stage has one side. `bypass`: goes around the numbered layers. `dense`: the rest. */
export type Side = "main" | "dense" | "bypass";

export interface StageNames {
  /** What stands behind `x_` and `g_`, by map: `0''`, `2`, `T`. */
  readonly maps: readonly string[];
  /** What stands behind `w_`, by layer. */
  readonly layers: readonly string[];
  readonly mapSides: readonly Side[];
  readonly layerSides: readonly Side[];
}

/** Every place where several maps come together. */
function combinations(stage: CollapsedStage): Set<number>[] {
  const readings = [...stage.layers.map(({ reads }) => reads), ...(stage.output ? [stage.output] : [])];
  return readings.map((reading: Reading) => new Set(mapsOf(reading)));
}

/** Names everything in a stage. */
export function nameStage(stage: CollapsedStage): StageNames {
  const together = combinations(stage);
  const isNumbered = stage.layers.map(({ reads, output }) => {
    const read = mapsOf(reads);
    return together.some((maps) => maps.has(output) && read.some((map) => maps.has(map)));
  });
  const readByNumbered = new Set(
    stage.layers.flatMap(({ reads }, i) => (isNumbered[i] ? mapsOf(reads) : [])),
  );
  const isInput = (map: number) => stage.maps[map].slice !== null && rootOf(stage, map).layer === null;
  const isUsed = (map: number) => together.some((maps) => maps.has(map));
  const goesAround = stage.maps.map(
    (_, map) => isInput(map) && isUsed(map) && !readByNumbered.has(map) && readByNumbered.size > 0,
  );
  const layers = nameLayers(stage, isNumbered, goesAround);
  const sided = goesAround.includes(true);
  const layerSides = stage.layers.map(({ reads }): Side => {
    if (!sided) return "main";
    return mapsOf(reads).some((map) => goesAround[map]) ? "bypass" : "dense";
  });
  return {
    layers,
    layerSides,
    maps: nameMaps(stage, layers),
    mapSides: stage.maps.map(({ layer }, map): Side => {
      if (!sided) return "main";
      if (layer !== null) return layerSides[layer];
      return goesAround[map] ? "bypass" : "dense";
    }),
  };
}

/** The map that a slice was cut from, or the map itself. */
function rootOf(stage: CollapsedStage, map: number) {
  const { slice } = stage.maps[map];
  return slice ? stage.maps[slice.of] : stage.maps[map];
}

function nameLayers(
  stage: CollapsedStage,
  isNumbered: readonly boolean[],
  goesAround: readonly boolean[],
): string[] {
  let number = 0;
  const taken = new Map<string, number>();
  return stage.layers.map(({ reads }, i) => {
    if (isNumbered[i]) {
      number += 1;
      return String(number);
    }
    const letter = mapsOf(reads).some((map) => goesAround[map]) ? "U" : "T";
    const count = (taken.get(letter) ?? 0) + 1;
    taken.set(letter, count);
    return count === 1 ? letter : `${letter}${count}`;
  });
}

function nameMaps(stage: CollapsedStage, layers: readonly string[]): string[] {
  const names: string[] = [];
  let inputs = 0;
  stage.maps.forEach(({ layer, slice }, map) => {
    if (layer !== null) names[map] = layers[layer];
    else if (!slice) {
      names[map] = inputs === 0 ? "0" : `0${String.fromCharCode(96 + inputs)}`;
      inputs += 1;
    }
  });
  // Parts are primed in the order of their channels.
  stage.maps.forEach(({ slice }, map) => {
    if (!slice) return;
    const siblings = stage.maps.filter(
      (other) => other.slice?.of === slice.of && other.slice.from < slice.from,
    );
    names[map] = names[slice.of] + "'".repeat(siblings.length + 1);
  });
  return names;
}
