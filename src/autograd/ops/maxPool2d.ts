/**
 * Max pooling with its gradient and the gradient's gradient. The winner of a window is its first largest element in
 * row-major order, or its last NaN, as in PyTorch; it is found again where it is needed instead of being stored.
 */
import type { HostView } from "../../backends/backend.ts";
import type { Pool2dAttributes } from "../../backends/cpu/loops/poolWindows.ts";
import { formatShape, type Shape, sameShape, sizeOf } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { defineOp, type Op, type Sample, type SampleSource, type TensorType } from "../defineOp.ts";
import { accumulate } from "./accumulate.ts";
import { checkFloats } from "./checks.ts";
import { dot, forEachIndex } from "./indexing.ts";
import {
  checkImages,
  outputExtent,
  type Padding,
  type Pair,
  padding4,
  pair,
  windowReach,
} from "./windows.ts";

declare module "../../backends/backend.ts" {
  interface KernelAttributes {
    maxPool2d: Pool2dAttributes;
    maxPool2dInputGradient: Pool2dAttributes;
    maxPool2dPick: Pool2dAttributes;
  }
}

/** The shape [N, C, P, Q] of one element per window of [N, C, H, W]. */
export function pooledShape(
  op: string,
  shape: Shape,
  { kernelSize, stride, padding, dilation }: Pool2dAttributes,
): number[] {
  checkImages(op, shape);
  const [N, C, H, W] = shape;
  return [
    N,
    C,
    outputExtent(op, H, kernelSize[0], stride[0], padding[0], padding[1], dilation[0]),
    outputExtent(op, W, kernelSize[1], stride[1], padding[2], padding[3], dilation[1]),
  ];
}

/** Calls `visit` with every tap [n, c, h, w] of window `output` = [n, c, p, q] that lies inside the image. */
export function forEachTap(
  [n, c, p, q]: readonly number[],
  [, , H, W]: Shape,
  { kernelSize, stride, padding, dilation }: Pool2dAttributes,
  visit: (tap: readonly number[]) => void,
): void {
  forEachIndex(kernelSize, ([r, s]) => {
    const h = p * stride[0] - padding[0] + r * dilation[0];
    const w = q * stride[1] - padding[2] + s * dilation[1];
    if (h >= 0 && h < H && w >= 0 && w < W) visit([n, c, h, w]);
  });
}

/** The place [n, c, h, w] of the winner of each window, in row-major order; null for a window of margin only. */
function winners(
  x: HostView,
  outputShape: Shape,
  attributes: Pool2dAttributes,
): (readonly number[] | null)[] {
  const found: (readonly number[] | null)[] = [];
  forEachIndex(outputShape, (output) => {
    let winner: readonly number[] | null = null;
    let largest = Number.NEGATIVE_INFINITY;
    forEachTap(output, x.shape, attributes, (tap) => {
      const value = x.data[x.offset + dot(tap, x.strides)];
      if (winner !== null && !(value > largest) && !Number.isNaN(value)) return;
      winner = tap;
      largest = value;
    });
    found.push(winner);
  });
  return found;
}

/** Writes `v` at the winners of x's windows; `empty` where a window has none. */
function pickWinners(
  x: HostView,
  v: HostView,
  output: HostView,
  attributes: Pool2dAttributes,
  empty: number,
): void {
  const places = winners(x, output.shape, attributes);
  let window = 0;
  forEachIndex(output.shape, (index) => {
    const place = places[window++];
    output.data[output.offset + dot(index, output.strides)] = place
      ? v.data[v.offset + dot(place, v.strides)]
      : empty;
  });
}

/** Windows from 1 x 1 to larger than the image, in images of prime, unit and non-square extents. */
export const poolSettings: readonly { readonly shape: Shape; readonly attributes: Pool2dAttributes }[] = [
  { shape: [2, 3, 6, 4], attributes: windows([2, 2], [2, 2], [0, 0, 0, 0]) },
  { shape: [1, 2, 7, 5], attributes: windows([3, 3], [2, 2], [1, 1, 1, 1]) },
  { shape: [2, 1, 8, 7], attributes: windows([3, 2], [2, 3], [1, 0, 0, 1]) },
  { shape: [1, 2, 7, 8], attributes: windows([2, 3], [1, 2], [1, 1, 1, 1], [3, 2]) },
  { shape: [1, 1, 4, 3], attributes: windows([5, 5], [1, 1], [2, 2, 2, 2]) },
  { shape: [2, 2, 1, 1], attributes: windows([1, 1], [1, 1], [0, 0, 0, 0]) },
  { shape: [0, 2, 3, 3], attributes: windows([2, 2], [1, 1], [0, 0, 0, 0]) },
];

function windows(
  kernelSize: Pool2dAttributes["kernelSize"],
  stride: Pool2dAttributes["stride"],
  padding: Pool2dAttributes["padding"],
  dilation: Pool2dAttributes["dilation"] = [1, 1],
): Pool2dAttributes {
  return { kernelSize, stride, padding, dilation };
}

/** A random image and windows that fit into it. */
export function drawPool(source: SampleSource): { shape: Shape; attributes: Pool2dAttributes } {
  const [N, C, height, width] = source.shape(4, 4);
  const size = () => source.integer(1, 3);
  const kernelSize = [size(), size()] as const;
  const dilation = [source.integer(1, 2), source.integer(1, 2)] as const;
  // At least as large as a window, so that every padding fits.
  const H = Math.max(height, windowReach(kernelSize[0], dilation[0]));
  const W = Math.max(width, windowReach(kernelSize[1], dilation[1]));
  const margin = (axis: 0 | 1) => source.integer(0, kernelSize[axis] - 1);
  const padding = [margin(0), margin(0), margin(1), margin(1)] as const;
  return { shape: [N, C, H, W], attributes: windows(kernelSize, [size(), size()], padding, dilation) };
}

const distinct = { kind: "distinct" } as const;

const poolOp: Op<Pool2dAttributes> = defineOp({
  name: "maxPool2d",
  summary: "largest element of each window",
  infer([x], attributes) {
    checkFloats("maxPool2d", x);
    return { shape: pooledShape("maxPool2d", x.shape, attributes), dtype: x.dtype };
  },
  reference: ([x], output, attributes) => pickWinners(x, x, output, attributes, Number.NEGATIVE_INFINITY),
  gradients: [({ gradient, input, attributes }) => spreadOp([input(0), gradient], attributes)],
  flops: (_, output, { kernelSize }) => sizeOf(output.shape) * sizeOf(kernelSize),
  samples: () =>
    poolSettings.map(({ shape, attributes }) => ({ inputs: [{ shape, domain: distinct }], attributes })),
  draw(source) {
    const { shape, attributes } = drawPool(source);
    return { inputs: [{ shape, domain: distinct }], attributes };
  },
});

function inferInputGradient([x, grad]: readonly TensorType[], attributes: Pool2dAttributes): TensorType {
  checkFloats("maxPool2dInputGradient", x, grad);
  const windowsOf = pooledShape("maxPool2dInputGradient", x.shape, attributes);
  if (!sameShape(grad.shape, windowsOf))
    throw new Error(
      `maxPool2dInputGradient: grad ${formatShape(grad.shape)} does not have one element for each of the windows ` +
        `${formatShape(windowsOf)} of input ${formatShape(x.shape)}; pass the gradient of maxPool2d's output`,
    );
  return x;
}

const withGradient = (shape: Shape, attributes: Pool2dAttributes): Sample<Pool2dAttributes> => ({
  inputs: [{ shape, domain: distinct }, { shape: pooledShape("maxPool2d", shape, attributes) }],
  attributes,
});

const spreadOp: Op<Pool2dAttributes> = defineOp({
  name: "maxPool2dInputGradient",
  summary: "each window's gradient, added at the place of its largest element in x",
  infer: inferInputGradient,
  reference([x, grad], output, attributes) {
    const places = winners(x, grad.shape, attributes);
    accumulate(output, (add) => {
      let window = 0;
      forEachIndex(grad.shape, (index) => {
        const place = places[window++];
        if (place) add(place, grad.data[grad.offset + dot(index, grad.strides)]);
      });
    });
  },
  gradients: [null, ({ gradient, input, attributes }) => pickOp([input(0), gradient], attributes)],
  flops: ([, grad], _, { kernelSize }) => sizeOf(grad.shape) * (sizeOf(kernelSize) + 1),
  samples: () => poolSettings.map(({ shape, attributes }) => withGradient(shape, attributes)),
  draw(source) {
    const { shape, attributes } = drawPool(source);
    return withGradient(shape, attributes);
  },
});

function inferPick([x, v]: readonly TensorType[], attributes: Pool2dAttributes): TensorType {
  checkFloats("maxPool2dPick", x, v);
  if (!sameShape(x.shape, v.shape))
    throw new Error(
      `maxPool2dPick: x ${formatShape(x.shape)} and v ${formatShape(v.shape)} differ in shape; ` +
        "v needs a value for each element of x",
    );
  return { shape: pooledShape("maxPool2dPick", x.shape, attributes), dtype: v.dtype };
}

const picking = (shape: Shape, attributes: Pool2dAttributes): Sample<Pool2dAttributes> => ({
  inputs: [{ shape, domain: distinct }, { shape }],
  attributes,
});

const pickOp: Op<Pool2dAttributes> = defineOp({
  name: "maxPool2dPick",
  summary: "v at the place of each window's largest element in x",
  infer: inferPick,
  reference: ([x, v], output, attributes) => pickWinners(x, v, output, attributes, 0),
  gradients: [null, ({ gradient, input, attributes }) => spreadOp([input(0), gradient], attributes)],
  flops: (_, output, { kernelSize }) => sizeOf(output.shape) * sizeOf(kernelSize),
  samples: () => poolSettings.map(({ shape, attributes }) => picking(shape, attributes)),
  draw(source) {
    const { shape, attributes } = drawPool(source);
    return picking(shape, attributes);
  },
});

export interface Pool2dOptions {
  readonly kernelSize: Pair;
  /** Default: the kernel's size, so that windows do not overlap. */
  readonly stride?: Pair;
  /** Margin of minus infinity for max pooling, of zeros for average pooling; below the window's reach. Default 0. */
  readonly padding?: Padding;
  /** Distance of a window's taps. Default 1. */
  readonly dilation?: Pair;
  /** Round the number of windows up where the stride does not divide: the last may hang over the edge. Default false. */
  readonly ceilMode?: boolean;
}

/** The attributes of pooling; `ceilMode` becomes margin at the bottom and right. Throws when a size is invalid. */
export function poolAttributes(
  op: string,
  shape: Shape,
  { kernelSize, stride = kernelSize, padding = 0, dilation = 1, ceilMode = false }: Pool2dOptions,
): Pool2dAttributes {
  checkImages(op, shape);
  const attributes = windows(
    pair(op, "kernelSize", kernelSize),
    pair(op, "stride", stride),
    padding4(op, padding),
    pair(op, "dilation", dilation),
  );
  const [top, bottom, left, right] = attributes.padding;
  const reach = [0, 1].map((i) => windowReach(attributes.kernelSize[i], attributes.dilation[i]));
  if (Math.max(top, bottom) >= reach[0] || Math.max(left, right) >= reach[1])
    throw new Error(
      `${op}: padding ${formatShape(attributes.padding)} must be smaller than the window's reach ` +
        `${formatShape(reach)}, or a window holds no element; use less padding`,
    );
  if (!ceilMode) return attributes;
  const after = (i: 0 | 1, size: number, before: number, own: number): number => {
    const step = attributes.stride[i];
    const steps = Math.max(0, Math.ceil((size + before + own - reach[i]) / step));
    // A window that would start beyond the image is left out.
    const last = steps * step >= size + before ? steps - 1 : steps;
    return Math.max(0, last * step + reach[i] - size - before);
  };
  return {
    ...attributes,
    padding: [top, after(0, shape[2], top, bottom), left, after(1, shape[3], left, right)],
  };
}

/**
 * x [N, C, H, W] -> [N, C, P, Q]: the largest element of each window; NaN where a window holds one. The gradient
 * goes to the first largest. Throws when a size is invalid, no window fits, or a window could lie in the margin.
 */
export function maxPool2d(x: Tensor, options: Pool2dOptions): Tensor {
  return poolOp([x], poolAttributes("maxPool2d", x.shape, options));
}
