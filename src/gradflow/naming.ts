/**
 * Names in the paper's notation, and which side of a stage everything is on.
 *
 * The stage's input is x_0, its channel slices x_0', x_0''. A transition brings several maps together, and everything
 * that they are made of goes through it: x_T, or x_U when a part of the input that went around the block is among
 * them. All other layers are numbered (x_1, x_2, …: dense layers, residual branches, the links of a chain).
 */
import type { CollapsedStage } from "./collapse.ts";
import { mapsOf } from "./reading.ts";

/** `main`: the stage has one side. `bypass`: depends on the part that goes around the block. `dense`: the rest. */
export type Side = "main" | "dense" | "bypass";

export interface StageNames {
  /** What stands behind `x_` and `g_`, by map: `0''`, `2`, `T`. */
  readonly maps: readonly string[];
  /** What stands behind `w_`, by layer. */
  readonly layers: readonly string[];
  readonly mapSides: readonly Side[];
  readonly layerSides: readonly Side[];
}

/** Names everything in a stage. */
export function nameStage(stage: CollapsedStage): StageNames {
  const upstream = upstreamMaps(stage);
  const around = partsAround(stage);
  const layerSides = upstream.map((maps): Side => {
    if (around.size === 0) return "main";
    return [...maps].some((map) => around.has(map)) ? "bypass" : "dense";
  });
  const layers = nameLayers(stage, upstream, layerSides);
  return {
    layers,
    layerSides,
    maps: nameMaps(stage, layers),
    mapSides: stage.maps.map(({ layer }, map): Side => {
      if (around.size === 0) return "main";
      if (layer !== null) return layerSides[layer];
      return around.has(map) ? "bypass" : "dense";
    }),
  };
}

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

/** The parts of the stage's input with fewer layers before them than the part with most: they go around the block. */
function partsAround({ maps, layers }: CollapsedStage): ReadonlySet<number> {
  const layersAhead = maps.map(() => 0);
  for (const { reads, output: made } of [...layers].reverse())
    for (const map of mapsOf(reads)) layersAhead[map] = Math.max(layersAhead[map], layersAhead[made] + 1);
  const parts = maps.flatMap(({ slice }, map) => (slice && maps[slice.of].layer === null ? [map] : []));
  const most = Math.max(...parts.map((map) => layersAhead[map]));
  return new Set(parts.filter((map) => layersAhead[map] < most));
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
): string[] {
  let number = 0;
  const taken = new Map<string, number>();
  return stage.layers.map((_, layer) => {
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
    const before = stage.maps.filter(
      (other, i) =>
        other.slice?.of === slice.of &&
        (other.slice.from - slice.from || other.slice.to - slice.to || i - map) < 0,
    );
    names[map] = names[slice.of] + "'".repeat(before.length + 1);
  });
  return names;
}
