/**
 * Two-dimensional convolution (cross-correlation, as in PyTorch) and its two gradients, which are each other's
 * gradients too: with y = conv(x, w),  ∂L/∂x = inputGradient(∂L/∂y, w)  and  ∂L/∂w = weightGradient(x, ∂L/∂y).
 *
 * Letters, here and in every kernel: N images, C input channels, H x W input, K output channels, R x S window,
 * P x Q output.
 */
import { formatShape, type Shape } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { defineOp, type GradientRule, type Op, type TensorType } from "../defineOp.ts";
import { checkFloats } from "./checks.ts";
import {
  type Conv2dAttributes,
  conv2dReference,
  drawSizes,
  inputGradientReference,
  multiplyAdds,
  outputShape,
  sampleSizes,
  weightGradientReference,
} from "./convolution.ts";
import { sum } from "./sum.ts";
import { type Padding, type Pair, padding4, pair } from "./windows.ts";

declare module "../../backends/backend.ts" {
  interface KernelAttributes {
    conv2d: Conv2dAttributes;
    conv2dInputGradient: Conv2dInputGradientAttributes;
    conv2dWeightGradient: Conv2dWeightGradientAttributes;
  }
}

interface Conv2dInputGradientAttributes extends Conv2dAttributes {
  readonly inputShape: Shape;
}

interface Conv2dWeightGradientAttributes extends Conv2dAttributes {
  readonly weightShape: Shape;
}

// Property by property: copies by spreading go straight to V8's old generation and pile up there, 200 bytes each.
const ofInput = (
  { stride, padding, dilation, groups }: Conv2dAttributes,
  inputShape: Shape,
): Conv2dInputGradientAttributes => ({ stride, padding, dilation, groups, inputShape });

const ofWeight = (
  { stride, padding, dilation, groups }: Conv2dAttributes,
  weightShape: Shape,
): Conv2dWeightGradientAttributes => ({ stride, padding, dilation, groups, weightShape });

const biasGradient: GradientRule<Conv2dAttributes> = ({ gradient }) => sum(gradient, [0, 2, 3]);

/** Throws unless `bias` is a vector of one value per output channel, of x's dtype. */
export function checkBias(op: string, x: TensorType, bias: TensorType, channels: number): void {
  if (bias.shape.length !== 1 || bias.shape[0] !== channels || bias.dtype !== x.dtype)
    throw new Error(
      `${op}: bias ${formatShape(bias.shape)} ${bias.dtype} must be [${channels}] ${x.dtype}, one per output channel`,
    );
}

const conv2dOp: Op<Conv2dAttributes> = defineOp({
  name: "conv2d",
  summary: "y[n,k,p,q] = bias[k] + Σ x[n,c,h,w] · weight[k,c,r,s] over the window",
  infer([x, weight, bias], attributes) {
    const shape = outputShape(x, weight, attributes);
    if (bias) checkBias("conv2d", x, bias, shape[1]);
    return { shape, dtype: x.dtype };
  },
  reference: conv2dReference,
  gradients: [
    ({ gradient, input, inputs, attributes }) =>
      inputGradientOp([gradient, input(1)], ofInput(attributes, inputs[0].shape)),
    ({ gradient, input, inputs, attributes }) =>
      weightGradientOp([input(0), gradient], ofWeight(attributes, inputs[1].shape)),
    biasGradient,
  ],
  flops: ([, weight], output) => multiplyAdds(weight.shape, output.shape),
  samples: () =>
    sampleSizes().map(({ x, weight, bias, attributes }) => ({
      inputs: bias ? [x, weight, bias] : [x, weight],
      attributes,
    })),
  draw: (source) => {
    const { x, weight, bias, attributes } = drawSizes(source);
    return { inputs: source.boolean() ? [x, weight, bias] : [x, weight], attributes };
  },
});

const inputGradientOp: Op<Conv2dInputGradientAttributes> = defineOp({
  name: "conv2dInputGradient",
  summary: "gradient of conv2d in its input, from that of its output and the weight",
  infer([gradient, weight], { inputShape }) {
    checkFloats("conv2dInputGradient", gradient, weight);
    return { shape: inputShape, dtype: gradient.dtype };
  },
  reference: inputGradientReference,
  gradients: [
    ({ gradient, input, attributes }) => conv2dOp([gradient, input(1)], attributes),
    ({ gradient, input, inputs, attributes }) =>
      weightGradientOp([gradient, input(0)], { ...attributes, weightShape: inputs[1].shape }),
  ],
  flops: ([gradient, weight]) => multiplyAdds(weight.shape, gradient.shape),
  samples: () =>
    sampleSizes().map(({ x, weight, y, attributes }) => ({
      inputs: [y, weight],
      attributes: { ...attributes, inputShape: x.shape },
    })),
  draw(source) {
    const { x, weight, y, attributes } = drawSizes(source);
    return { inputs: [y, weight], attributes: { ...attributes, inputShape: x.shape } };
  },
});

const weightGradientOp: Op<Conv2dWeightGradientAttributes> = defineOp({
  name: "conv2dWeightGradient",
  summary: "gradient of conv2d in its weight, from its input and the gradient of its output",
  infer([x, gradient], { weightShape }) {
    checkFloats("conv2dWeightGradient", x, gradient);
    return { shape: weightShape, dtype: x.dtype };
  },
  reference: weightGradientReference,
  gradients: [
    ({ gradient, input, inputs, attributes }) =>
      inputGradientOp([input(1), gradient], { ...attributes, inputShape: inputs[0].shape }),
    ({ gradient, input, attributes }) => conv2dOp([input(0), gradient], attributes),
  ],
  flops: ([, gradient], output) => multiplyAdds(output.shape, gradient.shape),
  samples: () =>
    sampleSizes().map(({ x, weight, y, attributes }) => ({
      inputs: [x, y],
      attributes: { ...attributes, weightShape: weight.shape },
    })),
  draw(source) {
    const { x, weight, y, attributes } = drawSizes(source);
    return { inputs: [x, y], attributes: { ...attributes, weightShape: weight.shape } };
  },
});

export interface Conv2dOptions {
  /** `[K]`, added to every output of channel k. */
  readonly bias?: Tensor;
  /** Default 1. */
  readonly stride?: Pair;
  /** Zeros around the input; default 0. */
  readonly padding?: Padding;
  /** Distance between the window's taps; default 1. */
  readonly dilation?: Pair;
  /** Default 1. */
  readonly groups?: number;
}

export type Window = Omit<Conv2dOptions, "bias">;

/**
 * A window's options as attributes for images of `inputShape` `[N, C, H, W]`, defaults filled in. A step beyond the
 * padded image is as good as one to its end, and kernels make tables as long as a step.
 */
export function windowAttributes(
  { stride = 1, padding = 0, dilation = 1, groups = 1 }: Window,
  inputShape: Shape,
): Conv2dAttributes {
  const [vertical, horizontal] = pair("conv2d", "stride", stride);
  const margin = padding4("conv2d", padding);
  const [, , height = 1, width = 1] = inputShape;
  return {
    stride: [
      Math.min(vertical, Math.max(1, height + margin[0] + margin[1])),
      Math.min(horizontal, Math.max(1, width + margin[2] + margin[3])),
    ],
    padding: margin,
    dilation: pair("conv2d", "dilation", dilation),
    groups,
  };
}

/**
 * Convolves `x` `[N, C, H, W]` with `weight` `[K, C/groups, R, S]` to `[N, K, P, Q]`, where
 * P = ⌊(H + top + bottom − dilation·(R − 1) − 1) / stride⌋ + 1. Throws when channels, groups or dtypes do not fit,
 * or when the window is larger than the padded input.
 */
export function conv2d(x: Tensor, weight: Tensor, { bias, ...window }: Conv2dOptions = {}): Tensor {
  return conv2dOp(bias ? [x, weight, bias] : [x, weight], windowAttributes(window, x.shape));
}

/** The gradient of a convolution's input `[N, C, H, W]`, given that of its output `[N, K, P, Q]`, and the weight. */
export function conv2dInputGradient(
  gradient: Tensor,
  weight: Tensor,
  inputShape: Shape,
  window: Window = {},
): Tensor {
  return inputGradientOp([gradient, weight], { ...windowAttributes(window, inputShape), inputShape });
}

/** The gradient of a convolution's weight `[K, C/groups, R, S]`, given its input and the gradient of its output. */
export function conv2dWeightGradient(
  x: Tensor,
  gradient: Tensor,
  weightShape: Shape,
  window: Window = {},
): Tensor {
  return weightGradientOp([x, gradient], { ...windowAttributes(window, x.shape), weightShape });
}
