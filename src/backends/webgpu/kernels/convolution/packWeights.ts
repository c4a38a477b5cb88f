/**
 * Weights in the order in which a product reads them: `[groups, C, R, S, K]`, K rounded up to whole tiles with zeros,
 * so that one vector load gives four output channels. For the gradient in the input the same with C and K exchanged
 * and the window turned round. Weights of a single element per pair of channels are mostly read where they lie.
 */
import type { GpuMemory } from "../../memory.ts";
import { type GpuView, layoutNumbers } from "../../runtime.ts";
import type { Job } from "../jobs.ts";
import { isRowMajor, roundUp } from "./geometry.ts";

export interface Weights {
  readonly memory: GpuMemory;
  readonly offset: number;
  /** Output channels of a group, rounded up. */
  readonly channels: number;
  /** `[groups, K, C]` instead: a vector load gives four input channels of one output channel. */
  readonly byOutput: boolean;
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

/** `weight` `[K, C/groups, 1, 1]` as it lies, where a product can read that; else null. `transposed` as below. */
export function weightsInPlace(
  weight: GpuView,
  groups: number,
  tile: number,
  transposed: boolean,
): Weights | null {
  const [K, C, R, S] = weight.shape;
  if (R * S !== 1 || weight.offset % 4 !== 0 || !isRowMajor(weight)) return null;
  const { buffer: memory, offset } = weight;
  if (transposed) return C % tile === 0 ? { memory, offset, channels: C, byOutput: false } : null;
  return C % 4 === 0 ? { memory, offset, channels: K / groups, byOutput: true } : null;
}

/** Packs `weight` `[K, C/groups, R, S]` as a job of that name; `transposed` exchanges C and K and turns the window. */
export function weightsJob(
  name: string,
  weight: GpuView,
  groups: number,
  tile: number,
  target: GpuMemory,
  transposed: boolean,
): { readonly job: Job; readonly weights: Weights } {
  const [allK, C, R, S] = weight.shape;
  const K = allK / groups;
  const [inner, outer] = transposed ? [C, K] : [K, C];
  const channels = roundUp(inner, tile);
  const extents = { inner, outer, R, S, channels, K };
  const job: Job = {
    label: transposed ? "packWeightsTransposed" : "packWeights",
    name,
    variant: "",
    operands: [
      { name: `${name}x`, buffer: weight.buffer, access: "read" },
      { name: `${name}y`, buffer: target, access: "write" },
    ],
    numbers: {
      ...layoutNumbers(`${name}x`, weight),
      ...Object.fromEntries(Object.entries(extents).map(([own, value]) => [`${name}${own}`, value])),
    },
    threads: groups * outer * R * S * channels,
    shader: () => {
      const n = (own: string) => `p.${name}${own}`;
      const [k, c] = transposed ? ["o", "i"] : ["i", "o"];
      const [row, column] = transposed ? [`${n("R")} - 1 - r`, `${n("S")} - 1 - s`] : ["r", "s"];
      return {
        body: `
  let i = e % ${n("channels")};
  var rest = e / ${n("channels")};
  let s = rest % ${n("S")};
  rest = rest / ${n("S")};
  let r = rest % ${n("R")};
  rest = rest / ${n("R")};
  let o = rest % ${n("outer")};
  let g = rest / ${n("outer")};
  if (i >= ${n("inner")}) { ${name}y_set(e, 0.0); return; }
  ${name}y_set(e, ${name}x_get(${n("x_o")} + (g * ${n("K")} + ${k}) * ${n("x_0")} + ${c} * ${n("x_1")}
    + (${row}) * ${n("x_2")} + (${column}) * ${n("x_3")}));`,
      };
    },
  };
  return { job, weights: { memory: target, offset: 0, channels, byOutput: false } };
}
