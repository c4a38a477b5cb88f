/**
 * Weights in the order in which a product reads them: `[groups, C, R, S, K]`, K rounded up to whole tiles with zeros,
 * so that one vector load gives four output channels. For the gradient in the input the same with C and K exchanged
 * and the window turned round.
 */
import type { GpuMemory } from "../../memory.ts";
import { type GpuRuntime, type GpuView, layoutNumbers } from "../../runtime.ts";
import { roundUp } from "./geometry.ts";

export interface PackedWeights {
  readonly memory: GpuMemory;
  /** Output channels of a group, rounded up. */
  readonly channels: number;
}

/** Elements of the packed weights. */
export function packedLength(
  [K, C, R, S]: readonly number[],
  groups: number,
  tile: number,
  transposed: boolean,
): number {
  return transposed
    ? groups * (K / groups) * R * S * roundUp(C, tile)
    : groups * C * R * S * roundUp(K / groups, tile);
}

/** Packs `weight` `[K, C/groups, R, S]`; `transposed` exchanges C and K and turns the window. */
export function packWeights(
  runtime: GpuRuntime,
  weight: GpuView,
  groups: number,
  tile: number,
  target: GpuMemory,
  transposed: boolean,
): PackedWeights {
  const [allK, C, R, S] = weight.shape;
  const K = allK / groups;
  const [inner, outer] = transposed ? [C, K] : [K, C];
  const channels = roundUp(inner, tile);
  runtime.launch({
    label: transposed ? "packWeightsTransposed" : "packWeights",
    operands: [
      { name: "weight", buffer: weight.buffer, access: "read" },
      { name: "y", buffer: target, access: "write" },
    ],
    numbers: { ...layoutNumbers("weight", weight), inner, outer, R, S, channels, K },
    threads: groups * outer * R * S * channels,
    shader: () => {
      const [k, c] = transposed ? ["o", "i"] : ["i", "o"];
      const [row, column] = transposed ? ["p.R - 1 - r", "p.S - 1 - s"] : ["r", "s"];
      return {
        body: `
  let i = id % p.channels;
  var rest = id / p.channels;
  let s = rest % p.S;
  rest = rest / p.S;
  let r = rest % p.R;
  rest = rest / p.R;
  let o = rest % p.outer;
  let g = rest / p.outer;
  if (i >= p.inner) { y_set(id, 0.0); return; }
  y_set(id, weight_get(p.weight_o + (g * p.K + ${k}) * p.weight_0 + ${c} * p.weight_1
    + (${row}) * p.weight_2 + (${column}) * p.weight_3));`,
      };
    },
  });
  return { memory: target, channels };
}
