/** Average pooling to a given size, and to one pixel. */
import { formatShape, type Shape, sameShape, sizeOf } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { defineOp, type Op, type SampleSource, type TensorType } from "../defineOp.ts";
import { accumulate } from "./accumulate.ts";
import { checkFloats } from "./checks.ts";
import { dot, forEachIndex } from "./indexing.ts";
import { mean } from "./mean.ts";
import { checkImages, type Pair, pair } from "./windows.ts";

declare module "../../backends/backend.ts" {
  interface KernelAttributes {
    adaptiveAvgPool2d: AdaptiveAvgPool2dAttributes;
    adaptiveAvgPool2dInputGradient: AdaptiveAvgPool2dInputGradientAttributes;
  }
}

interface AdaptiveAvgPool2dAttributes {
  readonly outputSize: readonly [number, number];
}

interface AdaptiveAvgPool2dInputGradientAttributes {
  /** [N, C, H, W] */
  readonly inputShape: Shape;
}

/** Rows (or columns) of window `i` of `outputs`: floor(i · extent / outputs) up to ceil((i + 1) · extent / outputs). */
function bounds(i: number, extent: number, outputs: number): readonly [start: number, end: number] {
  return [Math.floor((i * extent) / outputs), Math.ceil(((i + 1) * extent) / outputs)];
}

/** Calls `visit` with every element [n, c, h, w] of window [n, c, p, q], and how many there are. */
function forEachElement(
  [n, c, p, q]: readonly number[],
  [, , H, W]: Shape,
  [, , P, Q]: Shape,
  visit: (element: readonly number[], count: number) => void,
): void {
  const [top, bottom] = bounds(p, H, P);
  const [left, right] = bounds(q, W, Q);
  const window = [bottom - top, right - left];
  forEachIndex(window, ([r, s]) => visit([n, c, top + r, left + s], sizeOf(window)));
}

const settings: readonly { readonly inputShape: Shape; readonly outputSize: readonly [number, number] }[] = [
  { inputShape: [2, 3, 7, 5], outputSize: [3, 2] },
  { inputShape: [1, 1, 4, 3], outputSize: [7, 5] },
  { inputShape: [1, 2, 5, 3], outputSize: [5, 3] },
  { inputShape: [1, 2, 1, 1], outputSize: [1, 1] },
  { inputShape: [0, 2, 3, 3], outputSize: [2, 2] },
];

const drawImages = (source: SampleSource): number[] => [
  source.integer(1, 2),
  source.integer(1, 2),
  ...source.shape(2, 2),
];

const poolOp: Op<AdaptiveAvgPool2dAttributes> = defineOp({
  name: "adaptiveAvgPool2d",
  summary: "mean of each of P × Q windows that cover the image evenly",
  infer([x], { outputSize }) {
    checkFloats("adaptiveAvgPool2d", x);
    checkImages("adaptiveAvgPool2d", x.shape);
    const [N, C, H, W] = x.shape;
    if (H === 0 || W === 0)
      throw new Error(
        `adaptiveAvgPool2d: input ${formatShape(x.shape)} has no pixels to average; check its size`,
      );
    return { shape: [N, C, ...outputSize], dtype: x.dtype };
  },
  reference([x], output) {
    forEachIndex(output.shape, (window) => {
      let average = 0;
      forEachElement(window, x.shape, output.shape, (element, count) => {
        average += x.data[x.offset + dot(element, x.strides)] / count;
      });
      output.data[output.offset + dot(window, output.strides)] = average;
    });
  },
  gradients: [({ gradient, inputs }) => spreadOp([gradient], { inputShape: inputs[0].shape })],
  flops: ([x]) => sizeOf(x.shape),
  samples: () =>
    settings.map(({ inputShape, outputSize }) => ({
      inputs: [{ shape: inputShape }],
      attributes: { outputSize },
    })),
  draw: (source) => ({
    inputs: [{ shape: drawImages(source) }],
    attributes: { outputSize: [source.integer(1, 5), source.integer(1, 5)] },
  }),
});

function inferInputGradient(
  [grad]: readonly TensorType[],
  { inputShape }: AdaptiveAvgPool2dInputGradientAttributes,
): TensorType {
  checkFloats("adaptiveAvgPool2dInputGradient", grad);
  checkImages("adaptiveAvgPool2dInputGradient", grad.shape);
  if (!sameShape(grad.shape.slice(0, 2), inputShape.slice(0, 2)))
    throw new Error(
      `adaptiveAvgPool2dInputGradient: grad ${formatShape(grad.shape)} and input ${formatShape(inputShape)} differ ` +
        "in images or channels; pass the gradient of adaptiveAvgPool2d's output",
    );
  return { shape: inputShape, dtype: grad.dtype };
}

const spreadOp: Op<AdaptiveAvgPool2dInputGradientAttributes> = defineOp({
  name: "adaptiveAvgPool2dInputGradient",
  summary: "each window's gradient, spread evenly over its elements",
  infer: inferInputGradient,
  reference([grad], output) {
    accumulate(output, (add) => {
      forEachIndex(grad.shape, (window) => {
        const value = grad.data[grad.offset + dot(window, grad.strides)];
        forEachElement(window, output.shape, grad.shape, (element, count) => add(element, value / count));
      });
    });
  },
  gradients: [
    ({ gradient, inputs }) => {
      const [, , P, Q] = inputs[0].shape;
      return poolOp([gradient], { outputSize: [P, Q] });
    },
  ],
  flops: (_, output) => sizeOf(output.shape),
  samples: () =>
    settings.map(({ inputShape, outputSize }) => ({
      inputs: [{ shape: [inputShape[0], inputShape[1], ...outputSize] }],
      attributes: { inputShape },
    })),
  draw(source) {
    const [N, C, H, W] = drawImages(source);
    return {
      inputs: [{ shape: [N, C, source.integer(1, 5), source.integer(1, 5)] }],
      attributes: { inputShape: [N, C, H, W] },
    };
  },
});

/**
 * x [N, C, H, W] -> [N, C, P, Q] for `outputSize` [P, Q]: window (p, q) averages rows floor(p · H / P) to
 * ceil((p + 1) · H / P) and columns likewise, as in PyTorch. Throws when the image has no pixels.
 */
export function adaptiveAvgPool2d(x: Tensor, outputSize: Pair): Tensor {
  return poolOp([x], { outputSize: pair("adaptiveAvgPool2d", "outputSize", outputSize) });
}

/** x [N, C, H, W] -> [N, C, 1, 1]: the mean of each channel. Throws unless `x` has four dimensions. */
export function globalAvgPool2d(x: Tensor): Tensor {
  checkImages("globalAvgPool2d", x.shape);
  return mean(x, [2, 3], { keepDims: true });
}
