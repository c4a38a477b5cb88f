/**
 * upsample: images in another size, and its gradient, each the other's gradient. Every output pixel is a weighted sum
 * of one (nearest) or two (bilinear) input rows and columns; both ops run over the same list of those.
 */
import { formatShape, type Shape, sameShape, sizeOf } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { defineOp, type Op, type Sample, type SampleSource, type TensorType } from "../defineOp.ts";
import { accumulate } from "./accumulate.ts";
import { checkFloats } from "./checks.ts";
import { dot, forEachIndex } from "./indexing.ts";
import { checkImages, type Pair, pair } from "./windows.ts";

declare module "../../backends/backend.ts" {
  interface KernelAttributes {
    upsample: UpsampleAttributes;
    upsampleInputGradient: UpsampleInputGradientAttributes;
  }
}

interface UpsampleAttributes {
  readonly mode: "nearest" | "bilinear";
  /** [P, Q] */
  readonly size: readonly [number, number];
  /** What coordinates are divided by; null for size over input extent. */
  readonly scale: readonly [number, number] | null;
  readonly alignCorners: boolean;
}

interface UpsampleInputGradientAttributes extends UpsampleAttributes {
  /** [N, C, H, W] */
  readonly inputShape: Shape;
}

/** An input row or column and its share of an output row or column. */
interface Tap {
  readonly at: number;
  readonly weight: number;
}

/** What output row (or column) `i` of `outputs` is made of, as in PyTorch. */
function tapsOf(
  i: number,
  extent: number,
  outputs: number,
  axis: 0 | 1,
  attributes: UpsampleAttributes,
): Tap[] {
  const { mode, alignCorners, scale } = attributes;
  const inInput = (coordinate: number): number =>
    scale ? coordinate / scale[axis] : (coordinate * extent) / outputs;
  if (mode === "nearest") return [{ at: Math.min(Math.floor(inInput(i)), extent - 1), weight: 1 }];
  const coordinate = alignCorners
    ? (i * (extent - 1)) / Math.max(1, outputs - 1)
    : Math.max(0, inInput(i + 0.5) - 0.5);
  const first = Math.min(Math.floor(coordinate), extent - 1);
  const second = Math.min(first + 1, extent - 1);
  const share = coordinate - first;
  return [
    { at: first, weight: 1 - share },
    { at: second, weight: share },
  ];
}

/** Calls `visit` for every output pixel [n, c, p, q], every input pixel [n, c, h, w] in it, and the weight of that. */
function forEachTap(
  [N, C, H, W]: Shape,
  attributes: UpsampleAttributes,
  visit: (output: readonly number[], input: readonly number[], weight: number) => void,
): void {
  const [P, Q] = attributes.size;
  const rows = Array.from({ length: P }, (_, p) => tapsOf(p, H, P, 0, attributes));
  const columns = Array.from({ length: Q }, (_, q) => tapsOf(q, W, Q, 1, attributes));
  forEachIndex([N, C, P, Q], (output) => {
    const [n, c, p, q] = output;
    for (const row of rows[p])
      for (const column of columns[q]) visit(output, [n, c, row.at, column.at], row.weight * column.weight);
  });
}

const nearest = { mode: "nearest", scale: null, alignCorners: false } as const;
const bilinear = { mode: "bilinear", scale: null, alignCorners: false } as const;

const settings: readonly UpsampleInputGradientAttributes[] = [
  { ...nearest, inputShape: [1, 2, 3, 5], size: [7, 8] },
  { ...nearest, inputShape: [1, 1, 5, 3], size: [7, 6], scale: [1.5, 2.3] },
  { ...bilinear, inputShape: [1, 2, 3, 5], size: [7, 8] },
  { ...bilinear, inputShape: [2, 1, 5, 3], size: [3, 7], alignCorners: true },
  { ...bilinear, inputShape: [1, 1, 7, 4], size: [4, 6], scale: [0.6, 1.7] },
  { ...bilinear, inputShape: [1, 2, 1, 1], size: [3, 2] },
  { ...bilinear, inputShape: [1, 1, 4, 3], size: [1, 1], alignCorners: true },
  { ...nearest, inputShape: [0, 2, 3, 3], size: [2, 2] },
];

function drawSetting(source: SampleSource): UpsampleInputGradientAttributes {
  const inputShape = [source.integer(1, 2), source.integer(1, 2), ...source.shape(2, 2)];
  const scale = source.boolean() ? ([source.pick([0.5, 1.5, 2.3]), source.pick([1, 2, 3.1])] as const) : null;
  const extent = (axis: 0 | 1) =>
    scale ? Math.max(1, Math.floor(inputShape[axis + 2] * scale[axis])) : source.integer(1, 7);
  return {
    mode: source.pick(["nearest", "bilinear"]),
    inputShape,
    size: [extent(0), extent(1)],
    scale,
    alignCorners: source.boolean(),
  };
}

const resizing = ({
  inputShape,
  ...attributes
}: UpsampleInputGradientAttributes): Sample<UpsampleAttributes> => ({
  inputs: [{ shape: inputShape }],
  attributes,
});

const spreading = (attributes: UpsampleInputGradientAttributes): Sample<UpsampleInputGradientAttributes> => ({
  inputs: [{ shape: [...attributes.inputShape.slice(0, 2), ...attributes.size] }],
  attributes,
});

const flopsPerPixel = ({ mode }: UpsampleAttributes): number => (mode === "nearest" ? 0 : 8);

const resizeOp: Op<UpsampleAttributes> = defineOp({
  name: "upsample",
  summary: "images in another size, by the nearest pixel or between the nearest four",
  infer([x], { size }) {
    checkFloats("upsample", x);
    checkImages("upsample", x.shape);
    const [N, C, H, W] = x.shape;
    if (H === 0 || W === 0)
      throw new Error(`upsample: input ${formatShape(x.shape)} has no pixels to read; check its size`);
    return { shape: [N, C, ...size], dtype: x.dtype };
  },
  reference([x], output, attributes) {
    accumulate(output, (add) => {
      forEachTap(x.shape, attributes, (to, from, weight) => {
        add(to, weight * x.data[x.offset + dot(from, x.strides)]);
      });
    });
  },
  gradients: [
    ({ gradient, inputs, attributes }) =>
      spreadOp([gradient], { ...attributes, inputShape: inputs[0].shape }),
  ],
  flops: (_, output, attributes) => sizeOf(output.shape) * flopsPerPixel(attributes),
  samples: () => settings.map(resizing),
  draw: (source) => resizing(drawSetting(source)),
});

function inferInputGradient(
  [grad]: readonly TensorType[],
  { inputShape, size }: UpsampleInputGradientAttributes,
): TensorType {
  checkFloats("upsampleInputGradient", grad);
  const resized = [...inputShape.slice(0, 2), ...size];
  if (!sameShape(grad.shape, resized))
    throw new Error(
      `upsampleInputGradient: grad ${formatShape(grad.shape)} is not the ${formatShape(resized)} that input ` +
        `${formatShape(inputShape)} becomes; pass the gradient of upsample's output`,
    );
  return { shape: inputShape, dtype: grad.dtype };
}

const spreadOp: Op<UpsampleInputGradientAttributes> = defineOp({
  name: "upsampleInputGradient",
  summary: "each output pixel's gradient, added to the pixels it was made of",
  infer: inferInputGradient,
  reference([grad], output, attributes) {
    accumulate(output, (add) => {
      forEachTap(output.shape, attributes, (from, to, weight) => {
        add(to, weight * grad.data[grad.offset + dot(from, grad.strides)]);
      });
    });
  },
  gradients: [({ gradient, attributes: { inputShape, ...attributes } }) => resizeOp([gradient], attributes)],
  flops: ([grad], _, attributes) => sizeOf(grad.shape) * flopsPerPixel(attributes),
  samples: () => settings.map(spreading),
  draw: (source) => spreading(drawSetting(source)),
});

export interface UpsampleOptions {
  /** [P, Q], or one number for both. Give this or `scaleFactor`. */
  readonly size?: Pair;
  /** The size is the input's times the factor, rounded down; coordinates are divided by the factor itself. */
  readonly scaleFactor?: Pair;
  /** The nearest pixel to the top left, or a mean of the nearest four. Default "nearest". */
  readonly mode?: "nearest" | "bilinear";
  /** For "bilinear": the corner pixels' centres stay at the corners, instead of their outer edges. Default false. */
  readonly alignCorners?: boolean;
}

/**
 * x [N, C, H, W] -> [N, C, P, Q] in the given size, with PyTorch's coordinates (interpolate). Throws unless exactly
 * one of `size` and `scaleFactor` is given and the result has pixels, and for `alignCorners` with "nearest".
 */
export function upsample(
  x: Tensor,
  { size, scaleFactor, mode = "nearest", alignCorners = false }: UpsampleOptions,
): Tensor {
  checkImages("upsample", x.shape);
  if ((size === undefined) === (scaleFactor === undefined))
    throw new Error("upsample: give either size or scaleFactor");
  if (alignCorners && mode === "nearest")
    throw new Error('upsample: alignCorners needs mode "bilinear"; leave it out for "nearest"');
  if (scaleFactor === undefined)
    return resizeOp([x], { mode, size: pair("upsample", "size", size ?? 0), scale: null, alignCorners });
  const scale = typeof scaleFactor === "number" ? ([scaleFactor, scaleFactor] as const) : scaleFactor;
  const scaled = [Math.floor(x.shape[2] * scale[0]), Math.floor(x.shape[3] * scale[1])] as const;
  if (!scaled.every((extent) => extent >= 1))
    throw new Error(
      `upsample: scaleFactor ${formatShape(scale)} leaves no pixels of ${formatShape(x.shape)}; use a larger one`,
    );
  return resizeOp([x], { mode, size: scaled, scale, alignCorners });
}
