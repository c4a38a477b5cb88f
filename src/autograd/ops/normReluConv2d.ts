/**
 * A convolution of relu(batchNorm(x)) that applies the norm and the ReLU while it reads x, so that neither is ever a
 * tensor: a dense layer keeps only x and its output for the backward pass, where norm and ReLU cost as much memory
 * again each. It has the bits of the three ops one after the other.
 */
import type { HostView } from "../../backends/backend.ts";
import { formatShape, type Shape, sizeOf } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { defineOp, type GradientContext, type Op } from "../defineOp.ts";
import { gradientsOf } from "../derive.ts";
import { isGradEnabled } from "../mode.ts";
import { hasOpListeners } from "../observers.ts";
import { relu } from "./activations.ts";
import { batchNorm, checkOperands } from "./batchNorm.ts";
import { checkImages } from "./batchStatistics.ts";
import { checkFloats } from "./checks.ts";
import { conv2dInputGradient, conv2dWeightGradient, type Window, windowAttributes } from "./conv2d.ts";
import {
  type Conv2dAttributes,
  conv2dReference,
  drawSizes,
  multiplyAdds,
  outputShape,
  sampleSizes,
  weightGradientReference,
} from "./convolution.ts";
import { dot, forEachIndex } from "./indexing.ts";
import { normedAt, normReluInputGradient, normReluInputGradientInPlace, normReluSums } from "./normRelu.ts";
import { sharedStatistics } from "./sharedStatistics.ts";
import { select } from "./slice.ts";

declare module "../../backends/backend.ts" {
  interface KernelAttributes {
    normReluConv2d: NormReluConv2dAttributes;
    normReluConv2dWeightGradient: NormReluWeightGradientAttributes;
  }
}

export interface NormReluConv2dAttributes extends Conv2dAttributes {
  /** Added to the variance before the square root. */
  readonly epsilon: number;
}

interface NormReluWeightGradientAttributes extends NormReluConv2dAttributes {
  readonly weightShape: Shape;
}

/** relu(batchNorm(x)) with given statistics, in f64. */
function normed([x, weight, bias, statistics]: readonly HostView[], epsilon: number): HostView {
  const [, C, H, W] = x.shape;
  const strides = [C * H * W, H * W, W, 1];
  const data = new Float64Array(sizeOf(x.shape));
  forEachIndex(x.shape, (index) => {
    const value = normedAt([x, weight, bias, statistics], index, epsilon).normed;
    data[dot(index, strides)] = Math.max(value, 0);
  });
  return { dtype: "f64", data, shape: x.shape, strides, offset: 0 };
}

function filterGradient(context: GradientContext<NormReluConv2dAttributes>): Tensor {
  return context.share("filter", () => {
    const { gradient, inputs, attributes } = context;
    const [x, weight, bias, , statistics] = [0, 1, 2, 3, 4].map(context.input);
    return weightGradientOp([x, weight, bias, gradient, statistics], {
      ...attributes,
      weightShape: inputs[3].shape,
    });
  });
}

function normedGradients(context: GradientContext<NormReluConv2dAttributes>): {
  readonly inputs: readonly Tensor[];
  readonly sums: Tensor;
} {
  return context.share("normed", () => {
    const { attributes, gradient } = context;
    const [x, weight, bias, filter, statistics] = [0, 1, 2, 3, 4].map(context.input);
    const through = conv2dInputGradient(gradient, filter, x.shape, attributes);
    // Asked for here and not last: threads have something to do while the sums wait for what came through.
    if (context.isWanted(3)) filterGradient(context);
    const inputs = [x, weight, bias, through, statistics];
    return { inputs, sums: normReluSums(inputs, { epsilon: attributes.epsilon }) };
  });
}

const normReluConv2dOp: Op<NormReluConv2dAttributes> = defineOp({
  name: "normReluConv2d",
  summary: "conv2d(relu(batchNorm(x)), weight) without building the norm or the ReLU",
  completeInputs: (inputs) => (inputs.length > 4 ? inputs : [...inputs, sharedStatistics(inputs[0])]),
  infer([x, weight, bias, filter], attributes) {
    checkOperands("normReluConv2d", [x, weight, bias]);
    return { shape: outputShape(x, filter, attributes), dtype: x.dtype };
  },
  reference([x, weight, bias, filter, statistics], output, attributes) {
    conv2dReference([normed([x, weight, bias, statistics], attributes.epsilon), filter], output, attributes);
  },
  gradients: [
    (context) => {
      const { inputs, sums } = normedGradients(context);
      // What came through the convolution is seen by nobody else, unless the pass is recorded or listened to.
      const isOurs = !isGradEnabled() && !hasOpListeners();
      const inputGradient = isOurs ? normReluInputGradientInPlace : normReluInputGradient;
      return inputGradient([...inputs, sums], { epsilon: context.attributes.epsilon });
    },
    (context) => select(normedGradients(context).sums, 0, 1),
    (context) => select(normedGradients(context).sums, 0, 0),
    filterGradient,
    null,
  ],
  flops: ([x, , , filter], output) => 5 * sizeOf(x.shape) + multiplyAdds(filter.shape, output.shape),
  samples: () =>
    sampleSizes()
      .filter(({ x }) => sizeOf(x.shape) > x.shape[1])
      .map(({ x, weight, attributes }) => ({
        inputs: [{ ...x, domain: { kind: "distinct" } as const }, ...vectors(x.shape), weight],
        attributes: { ...attributes, epsilon: 1e-3 },
      })),
  draw(source) {
    const { x, weight, attributes } = drawSizes(source);
    return {
      inputs: [{ ...x, domain: { kind: "distinct" } }, ...vectors(x.shape), weight],
      attributes: { ...attributes, epsilon: 0.1 },
    };
  },
});

const vectors = ([, C]: Shape) => [{ shape: [C] }, { shape: [C] }];

const weightDefinition = gradientsOf<NormReluWeightGradientAttributes>(
  [0, 1, 2, 3],
  ([x, weight, bias, gradient], { epsilon, weightShape, ...window }) =>
    conv2dWeightGradient(relu(batchNorm(x, weight, bias, { epsilon })), gradient, weightShape, window),
);

/** Inputs x, the norm's weight and bias, the gradient of the output, and the statistics of x. */
const weightGradientOp: Op<NormReluWeightGradientAttributes> = defineOp({
  name: "normReluConv2dWeightGradient",
  summary: "gradient of normReluConv2d in the convolution's weight",
  completeInputs: (inputs) => (inputs.length > 4 ? inputs : [...inputs, sharedStatistics(inputs[0])]),
  infer(inputs, { weightShape }) {
    const [x, weight, bias] = inputs;
    checkFloats("normReluConv2dWeightGradient", ...inputs);
    checkImages("normReluConv2dWeightGradient", x);
    checkOperands("normReluConv2dWeightGradient", [x, weight, bias]);
    return { shape: weightShape, dtype: x.dtype };
  },
  reference([x, weight, bias, gradient, statistics], output, attributes) {
    weightGradientReference(
      [normed([x, weight, bias, statistics], attributes.epsilon), gradient],
      output,
      attributes,
    );
  },
  gradients: [weightDefinition, weightDefinition, weightDefinition, weightDefinition, null],
  flops: ([x, , , gradient], output) => 5 * sizeOf(x.shape) + multiplyAdds(output.shape, gradient.shape),
  samples: () =>
    sampleSizes()
      .filter(({ x }) => sizeOf(x.shape) > x.shape[1])
      .map(({ x, weight, y, attributes }) => ({
        inputs: [{ ...x, domain: { kind: "distinct" } as const }, ...vectors(x.shape), y],
        attributes: { ...attributes, epsilon: 1e-3, weightShape: weight.shape },
      })),
  draw(source) {
    const { x, weight, y, attributes } = drawSizes(source);
    return {
      inputs: [{ ...x, domain: { kind: "distinct" } }, ...vectors(x.shape), y],
      attributes: { ...attributes, epsilon: 0.1, weightShape: weight.shape },
    };
  },
});

export interface NormReluConv2dOptions extends Window {
  /** The norm's weight and bias, `[C]`. */
  readonly weight: Tensor;
  readonly bias: Tensor;
  /** Added to the variance before the square root; default 1e-5. */
  readonly epsilon?: number;
  /** `batchStatistics(x)`, where they are known already. They must be those of `x`. */
  readonly statistics?: Tensor;
}

/**
 * conv2d(relu(batchNorm(x)), filter) for `x` `[N, C, H, W]` and `filter` `[K, C/groups, R, S]`, without keeping the
 * norm or the ReLU. The zeros of the padding are those of the ReLU's output.
 */
export function normReluConv2d(
  x: Tensor,
  filter: Tensor,
  { weight, bias, epsilon = 1e-5, statistics, ...window }: NormReluConv2dOptions,
): Tensor {
  if (x.rank !== 4) throw new Error(`normReluConv2d: input ${formatShape(x.shape)} must be [N, C, H, W]`);
  const inputs = [x, weight, bias, filter];
  return normReluConv2dOp(statistics ? [...inputs, statistics] : inputs, {
    ...windowAttributes(window, x.shape),
    epsilon,
  });
}
