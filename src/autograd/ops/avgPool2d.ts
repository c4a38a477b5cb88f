/** Average pooling and its gradient, each the other's gradient. */
import type { AvgPool2dAttributes } from "../../backends/cpu/loops/avgPool.ts";
import { formatShape, type Shape, sameShape, sizeOf } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { defineOp, type Op, type Sample, type TensorType } from "../defineOp.ts";
import { accumulate } from "./accumulate.ts";
import { checkFloats } from "./checks.ts";
import { dot, forEachIndex } from "./indexing.ts";
import {
  drawPool,
  forEachTap,
  type Pool2dOptions,
  poolAttributes,
  pooledShape,
  poolSettings,
} from "./maxPool2d.ts";

declare module "../../backends/backend.ts" {
  interface KernelAttributes {
    avgPool2d: AvgPool2dAttributes;
    avgPool2dInputGradient: AvgPool2dInputGradientAttributes;
  }
}

interface AvgPool2dInputGradientAttributes extends AvgPool2dAttributes {
  /** [N, C, H, W] */
  readonly inputShape: Shape;
}

/** The weight of each tap of a window: 1 over the number of taps that count. */
function tapWeight(window: readonly number[], inputShape: Shape, attributes: AvgPool2dAttributes): number {
  if (attributes.countIncludePad) return 1 / sizeOf(attributes.kernelSize);
  let taps = 0;
  forEachTap(window, inputShape, attributes, () => {
    taps += 1;
  });
  return 1 / Math.max(1, taps);
}

const averageOp: Op<AvgPool2dAttributes> = defineOp({
  name: "avgPool2d",
  summary: "mean of each window",
  infer([x], attributes) {
    checkFloats("avgPool2d", x);
    return { shape: pooledShape("avgPool2d", x.shape, attributes), dtype: x.dtype };
  },
  reference([x], output, attributes) {
    forEachIndex(output.shape, (window) => {
      let sum = 0;
      forEachTap(window, x.shape, attributes, (tap) => {
        sum += x.data[x.offset + dot(tap, x.strides)];
      });
      output.data[output.offset + dot(window, output.strides)] = sum * tapWeight(window, x.shape, attributes);
    });
  },
  gradients: [
    ({ gradient, inputs, attributes }) =>
      spreadOp([gradient], { ...attributes, inputShape: inputs[0].shape }),
  ],
  flops: (_, output, { kernelSize }) => sizeOf(output.shape) * sizeOf(kernelSize),
  samples: () =>
    poolSettings.map(({ shape, attributes }, i) => ({
      inputs: [{ shape }],
      attributes: { ...attributes, countIncludePad: i % 2 === 0 },
    })),
  draw(source) {
    const { shape, attributes } = drawPool(source);
    return { inputs: [{ shape }], attributes: { ...attributes, countIncludePad: source.boolean() } };
  },
});

function inferInputGradient(
  [grad]: readonly TensorType[],
  attributes: AvgPool2dInputGradientAttributes,
): TensorType {
  checkFloats("avgPool2dInputGradient", grad);
  const windows = pooledShape("avgPool2dInputGradient", attributes.inputShape, attributes);
  if (!sameShape(grad.shape, windows))
    throw new Error(
      `avgPool2dInputGradient: grad ${formatShape(grad.shape)} does not have one element for each of the windows ` +
        `${formatShape(windows)} of input ${formatShape(attributes.inputShape)}; pass the gradient of avgPool2d's output`,
    );
  return { shape: attributes.inputShape, dtype: grad.dtype };
}

function spreadSample(
  inputShape: Shape,
  attributes: AvgPool2dAttributes,
): Sample<AvgPool2dInputGradientAttributes> {
  const shape = pooledShape("avgPool2d", inputShape, attributes);
  return { inputs: [{ shape }], attributes: { ...attributes, inputShape } };
}

const spreadOp: Op<AvgPool2dInputGradientAttributes> = defineOp({
  name: "avgPool2dInputGradient",
  summary: "each window's gradient, spread evenly over its elements",
  infer: inferInputGradient,
  reference([grad], output, attributes) {
    accumulate(output, (add) => {
      forEachIndex(grad.shape, (window) => {
        const value = grad.data[grad.offset + dot(window, grad.strides)];
        const share = value * tapWeight(window, output.shape, attributes);
        forEachTap(window, output.shape, attributes, (tap) => add(tap, share));
      });
    });
  },
  gradients: [({ gradient, attributes }) => averageOp([gradient], attributes)],
  flops: ([grad], _, { kernelSize }) => sizeOf(grad.shape) * sizeOf(kernelSize),
  samples: () =>
    poolSettings.map(({ shape, attributes }, i) =>
      spreadSample(shape, { ...attributes, countIncludePad: i % 2 === 1 }),
    ),
  draw(source) {
    const { shape, attributes } = drawPool(source);
    return spreadSample(shape, { ...attributes, countIncludePad: source.boolean() });
  },
});

export interface AvgPool2dOptions extends Pool2dOptions {
  /** Whether the margin's zeros count in the mean. Default true. */
  readonly countIncludePad?: boolean;
}

/**
 * x [N, C, H, W] -> [N, C, P, Q]: the mean of each window. What hangs over the edge with `ceilMode` never counts.
 * Throws when a size is invalid or no window fits, and for a margin that counts together with `ceilMode`.
 */
export function avgPool2d(x: Tensor, { countIncludePad = true, ...options }: AvgPool2dOptions): Tensor {
  const attributes = poolAttributes("avgPool2d", x.shape, options);
  if (!options.ceilMode) return averageOp([x], { ...attributes, countIncludePad });
  const { padding } = poolAttributes("avgPool2d", x.shape, { ...options, ceilMode: false });
  if (countIncludePad && padding.some((margin) => margin > 0))
    throw new Error(
      `avgPool2d: ceilMode with padding ${formatShape(padding)} that counts is not supported; ` +
        "set countIncludePad: false, or pad() the input first",
    );
  return averageOp([x], { ...attributes, countIncludePad: false });
}
