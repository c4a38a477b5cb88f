/**
 * relu(conv2d(x, weight) + bias) as one op: what a convolution, its batch norm and its ReLU become when a trained
 * network is folded for inference. Bias and ReLU are one pass over the output instead of an op each. With δ the
 * gradient where the output is positive, else 0, its gradients are those of the convolution.
 */
import type { Tensor } from "../../tensor/tensor.ts";
import { defineOp, type GradientContext, type Op, type SampleInput } from "../defineOp.ts";
import { lessEqual, where } from "./comparison.ts";
import {
  type Conv2dOptions,
  checkBias,
  conv2dInputGradient,
  conv2dWeightGradient,
  windowAttributes,
} from "./conv2d.ts";
import {
  type Conv2dAttributes,
  conv2dReference,
  drawSizes,
  multiplyAdds,
  outputShape,
  type Sizes,
  sampleSizes,
} from "./convolution.ts";
import { dot, forEachIndex } from "./indexing.ts";
import { sum } from "./sum.ts";

declare module "../../backends/backend.ts" {
  interface KernelAttributes {
    conv2dRelu: Conv2dAttributes;
  }
}

/** The gradient where the ReLU let its input through. */
function passed(context: GradientContext<Conv2dAttributes>): Tensor {
  return context.share("passed", () => where(lessEqual(context.output(), 0), 0, context.gradient));
}

/** Positive products and a bias away from 0, so that some outputs are cut off and none is near the kink. */
function operands({ x, weight, bias }: Sizes, biased: boolean): readonly SampleInput[] {
  const positive = { kind: "positive" } as const;
  const images = [
    { ...x, domain: positive },
    { ...weight, domain: positive },
  ];
  return biased ? [...images, { ...bias, domain: { kind: "away", from: [0] } }] : images;
}

const conv2dReluOp: Op<Conv2dAttributes> = defineOp({
  name: "conv2dRelu",
  summary: "max(conv2d(x, weight) + bias, 0)",
  infer([x, weight, bias], attributes) {
    const shape = outputShape(x, weight, attributes);
    if (bias) checkBias("conv2dRelu", x, bias, shape[1]);
    return { shape, dtype: x.dtype };
  },
  reference(inputs, output, attributes) {
    conv2dReference(inputs, output, attributes);
    forEachIndex(output.shape, (index) => {
      const at = output.offset + dot(index, output.strides);
      if (output.data[at] <= 0) output.data[at] = 0;
    });
  },
  gradients: [
    (context) =>
      conv2dInputGradient(passed(context), context.input(1), context.inputs[0].shape, context.attributes),
    (context) =>
      conv2dWeightGradient(context.input(0), passed(context), context.inputs[1].shape, context.attributes),
    (context) => sum(passed(context), [0, 2, 3]),
  ],
  flops: ([, weight], output) => multiplyAdds(weight.shape, output.shape),
  samples: () =>
    sampleSizes().map((sizes, i) => ({ inputs: operands(sizes, i % 2 === 1), attributes: sizes.attributes })),
  draw(source) {
    const sizes = drawSizes(source);
    return { inputs: operands(sizes, source.boolean()), attributes: sizes.attributes };
  },
});

/**
 * relu(conv2d(x, weight, options)): `[N, C, H, W]` and `[K, C/groups, R, S]` to `[N, K, P, Q]`, where nothing is kept
 * of what the ReLU cuts off. Throws as `conv2d` does.
 */
export function conv2dRelu(x: Tensor, weight: Tensor, { bias, ...window }: Conv2dOptions = {}): Tensor {
  return conv2dReluOp(bias ? [x, weight, bias] : [x, weight], windowAttributes(window, x.shape));
}
