/**
 * The copy of images that a product reads: with its margin of zeros, rows padded to whole vectors, and, where asked
 * for, normalised and rectified on the way (so that norm and ReLU of a dense layer cost no pass of their own), or
 * spread apart by a stride (for the gradient of a strided convolution). The inner loops then check no borders.
 */
import type { GpuMemory } from "../../memory.ts";
import { float, type Numeral } from "../../parameters.ts";
import { type GpuView, layoutNumbers } from "../../runtime.ts";
import { expressionFunctions } from "../../wgsl.ts";
import type { Job } from "../jobs.ts";
import type { Images } from "./geometry.ts";

/**
 * x ↦ max(weight · (x − mean) / √(variance + ε) + bias, 0) by channel. The mean is subtracted first: in x · scale −
 * mean · scale a mean far from 0 costs digits.
 */
export interface Normalization {
  /** `[C]` */
  readonly weight: GpuView;
  readonly bias: GpuView;
  /** `[2, C]`: means, then variances. */
  readonly statistics: GpuView;
  readonly epsilon: number;
}

/** Where the images go. */
export interface Frame {
  /** Zeros above and to the left. */
  readonly top: number;
  readonly left: number;
  readonly rows: number;
  /** A multiple of 4. */
  readonly columns: number;
  /** Distance at which the image's rows and columns are laid down; zeros lie between. Default 1. */
  readonly spread?: readonly [number, number];
}

/** Elements of the copy. */
export function frameLength(x: GpuView, { rows, columns }: Frame): number {
  return x.shape[0] * x.shape[1] * rows * columns;
}

/** Copies `x` `[N, C, H, W]` into `target`, `[N, C, rows, columns]`, as a job of that name. */
export function imagesJob(
  name: string,
  x: GpuView,
  target: GpuMemory,
  frame: Frame,
  normalization: Normalization | null = null,
): { readonly job: Job; readonly images: Images } {
  const [, C, H, W] = x.shape;
  const { top, left, rows, columns, spread = [1, 1] } = frame;
  const { epsilon, ...vectors } = normalization ?? { epsilon: 0 };
  const read = Object.entries({ x, ...vectors }).map(([own, view]) => [`${name}${own}`, view] as const);
  const isSpread = spread[0] > 1 || spread[1] > 1;
  // Written out, since a step prepares hundreds of images: maps and spreads took a tenth of its JavaScript.
  const numbers: Record<string, Numeral> = {};
  for (const [own, view] of read) Object.assign(numbers, layoutNumbers(own, view));
  numbers[`${name}C`] = C;
  numbers[`${name}H`] = H;
  numbers[`${name}W`] = W;
  numbers[`${name}top`] = top;
  numbers[`${name}left`] = left;
  numbers[`${name}rows`] = rows;
  numbers[`${name}vectors`] = columns / 4;
  numbers[`${name}spread_h`] = spread[0];
  numbers[`${name}spread_w`] = spread[1];
  numbers[`${name}epsilon`] = float(epsilon);
  const job: Job = {
    label: "prepareImages",
    name,
    variant: `${normalization ? "norm" : ""}${isSpread ? "spread" : ""}`,
    operands: [
      ...read.map(([own, { buffer }]) => ({ name: own, buffer, access: "read" }) as const),
      { name: `${name}y`, buffer: target, access: "write", vector: true },
    ],
    numbers,
    threads: frameLength(x, frame) / 4,
    shader: () => imagesShader(name, normalization !== null, isSpread),
  };
  const images = {
    view: target,
    offset: 0,
    image: C * rows * columns,
    channel: rows * columns,
    row: columns,
    last: null,
  };
  return { job, images };
}

function imagesShader(name: string, isNormed: boolean, isSpread: boolean): ReturnType<Job["shader"]> {
  const n = (own: string) => `p.${name}${own}`;
  // A division for four elements is cheaper than a kernel for the coefficients.
  const coefficients = `
  let mean = ${name}statistics_get(${n("statistics_o")} + c * ${n("statistics_1")});
  let variance = ${name}statistics_get(${n("statistics_o")} + ${n("statistics_0")} + c * ${n("statistics_1")});
  let scale = ${name}weight_get(${n("weight_o")} + c * ${n("weight_0")}) / sqrt(variance + ${n("epsilon")});
  let shift = ${name}bias_get(${n("bias_o")} + c * ${n("bias_0")});`;
  const element = `
fn ${name}element(base: i32, w: i32${isNormed ? ", mean: f32, scale: f32, shift: f32" : ""}) -> f32 {
  ${isSpread ? `if (w < 0 || w % ${n("spread_w")} != 0) { return 0.0; }\n  let column = w / ${n("spread_w")};` : "let column = w;"}
  if (column < 0 || column >= ${n("W")}) { return 0.0; }
  let value = ${name}x_get(base + column * ${n("x_3")});
  return ${isNormed ? "f_max((value - mean) * scale + shift, 0.0)" : "value"};
}`;
  return {
    declarations: [...(isNormed ? [expressionFunctions] : []), element],
    body: `
  let vector = e % ${n("vectors")};
  let row = (e / ${n("vectors")}) % ${n("rows")};
  let plane = e / (${n("vectors")} * ${n("rows")});
  let c = plane % ${n("C")};
  let image = plane / ${n("C")};
  var h = row - ${n("top")};
  var inside = h >= 0;
  ${isSpread ? `inside = inside && h % ${n("spread_h")} == 0;\n  h = h / ${n("spread_h")};` : ""}
  inside = inside && h < ${n("H")};
  if (!inside) { ${name}y_set4(e * 4, vec4<f32>(0.0)); return; }
  let base = ${n("x_o")} + image * ${n("x_0")} + c * ${n("x_1")} + h * ${n("x_2")};
  let w = vector * 4 - ${n("left")};
  ${isNormed ? coefficients : ""}
  ${name}y_set4(e * 4, vec4<f32>(${[0, 1, 2, 3]
    .map((lane) => `${name}element(base, w + ${lane}${isNormed ? ", mean, scale, shift" : ""})`)
    .join(", ")}));`,
  };
}

/** `x` as it lies, where a product can read it in place: columns are neighbours and all else is a multiple of four. */
export function inPlace(x: GpuView): Images | null {
  const [image, channel, row, column] = x.strides;
  const [N, C, H, W] = x.shape;
  const aligned = [x.offset, image, channel, H > 1 ? row : 0, W].every((count) => count % 4 === 0);
  if (!aligned || column !== 1) return null;
  const end = x.offset + (N - 1) * image + (C - 1) * channel + (H - 1) * row + W;
  return { view: x.buffer, offset: x.offset, image, channel, row, last: end - 4 };
}
