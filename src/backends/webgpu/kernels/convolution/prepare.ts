/**
 * The copy of images that a product reads: with its margin of zeros, rows padded to whole vectors, and, where asked
 * for, normalised and rectified on the way (so that norm and ReLU of a dense layer cost no pass of their own), or
 * spread apart by a stride (for the gradient of a strided convolution). The inner loops then check no borders.
 */
import type { GpuMemory } from "../../memory.ts";
import { float } from "../../parameters.ts";
import { type GpuRuntime, type GpuView, layoutNumbers } from "../../runtime.ts";
import { expressionFunctions } from "../../wgsl.ts";
import type { Images } from "./geometry.ts";

/** x ↦ max(weight · (x − mean) / √(variance + ε) + bias, 0) by channel. */
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

/** WGSL: scale and shift of channel `c`. A division for four elements is cheaper than a kernel of its own. */
const coefficients = `
  let mean = statistics_get(p.statistics_o + c * p.statistics_1);
  let variance = statistics_get(p.statistics_o + p.statistics_0 + c * p.statistics_1);
  let scale = weight_get(p.weight_o + c * p.weight_0) / sqrt(variance + p.epsilon);
  let shift = bias_get(p.bias_o + c * p.bias_0) - mean * scale;`;

/** Copies `x` `[N, C, H, W]` into `target`, `[N, C, rows, columns]`. */
export function prepareImages(
  runtime: GpuRuntime,
  x: GpuView,
  target: GpuMemory,
  frame: Frame,
  normalization: Normalization | null = null,
): Images {
  const [, C, H, W] = x.shape;
  const { top, left, rows, columns, spread = [1, 1] } = frame;
  const { epsilon, ...vectors } = normalization ?? { epsilon: 0 };
  const isSpread = spread[0] > 1 || spread[1] > 1;
  runtime.launch({
    label: "prepareImages",
    variant: `${normalization ? "norm" : ""}${isSpread ? "spread" : ""}`,
    operands: [
      { name: "x", buffer: x.buffer, access: "read" },
      { name: "y", buffer: target, access: "write", vector: true },
      ...Object.entries(vectors).map(([name, { buffer }]) => ({ name, buffer, access: "read" }) as const),
    ],
    numbers: {
      ...layoutNumbers("x", x),
      C,
      H,
      W,
      top,
      left,
      rows,
      vectors: columns / 4,
      spread_h: spread[0],
      spread_w: spread[1],
      ...Object.assign({}, ...Object.entries(vectors).map(([name, view]) => layoutNumbers(name, view))),
      epsilon: float(epsilon),
    },
    threads: frameLength(x, frame) / 4,
    shader: () => ({
      declarations: `${normalization ? expressionFunctions : ""}
fn element(base: i32, w: i32${normalization ? ", scale: f32, shift: f32" : ""}) -> f32 {
  ${isSpread ? "if (w < 0 || w % p.spread_w != 0) { return 0.0; }\n  let column = w / p.spread_w;" : "let column = w;"}
  if (column < 0 || column >= p.W) { return 0.0; }
  let value = x_get(base + column * p.x_3);
  return ${normalization ? "f_max(value * scale + shift, 0.0)" : "value"};
}`,
      body: `
  let vector = id % p.vectors;
  let row = (id / p.vectors) % p.rows;
  let plane = id / (p.vectors * p.rows);
  let c = plane % p.C;
  let n = plane / p.C;
  var h = row - p.top;
  var inside = h >= 0;
  ${isSpread ? "inside = inside && h % p.spread_h == 0;\n  h = h / p.spread_h;" : ""}
  inside = inside && h < p.H;
  if (!inside) { y_set4(id * 4, vec4<f32>(0.0)); return; }
  let base = p.x_o + n * p.x_0 + c * p.x_1 + h * p.x_2;
  let w = vector * 4 - p.left;
  ${normalization ? coefficients : ""}
  y_set4(id * 4, vec4<f32>(${[0, 1, 2, 3]
    .map((lane) => `element(base, w + ${lane}${normalization ? ", scale, shift" : ""})`)
    .join(", ")}));`,
    }),
  });
  return {
    view: target,
    offset: 0,
    image: C * rows * columns,
    channel: rows * columns,
    row: columns,
    last: null,
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
