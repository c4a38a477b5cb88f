/**
 * Batch normalisation (Ioffe & Szegedy 2015) over N, H and W of `[N, C, H, W]`, in the steps that a dense network
 * can share: the statistics of a feature map are an op of their own, computed once for all layers that read it.
 *
 *     y = weight · (x − mean) / √(variance + ε) + bias
 *
 * The fast kernels take the statistics as given; each op also states its definition with other ops, which includes
 * how the statistics depend on x, and its gradients of every order follow from that.
 */
import type { HostView } from "../../backends/backend.ts";
import { formatShape, sizeOf } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { defineOp, type GradientContext, type Op, type TensorType } from "../defineOp.ts";
import { gradientsOf } from "../derive.ts";
import { add, div, mul, multiplyAdd, sqrt, square, sub } from "./arithmetic.ts";
import { checkImages, drawImages, imageShapes, overBatch } from "./batchStatistics.ts";
import { checkFloats } from "./checks.ts";
import { stack } from "./concat.ts";
import { dot, forEachIndex } from "./indexing.ts";
import { mean } from "./mean.ts";
import { reshape } from "./reshape.ts";
import { sharedStatistics } from "./sharedStatistics.ts";
import { select } from "./slice.ts";
import { sum } from "./sum.ts";

declare module "../../backends/backend.ts" {
  interface KernelAttributes {
    batchNorm: BatchNormAttributes;
    batchNormSums: BatchNormAttributes;
    batchNormInputGradient: BatchNormAttributes;
  }
}

export interface BatchNormAttributes {
  /** Added to the variance before the square root. */
  readonly epsilon: number;
}

/** `[C]` as `[1, C, 1, 1]`. */
const perChannel = (vector: Tensor): Tensor => reshape(vector, [1, vector.size, 1, 1]);

function checkChannels(op: string, x: TensorType, name: string, vector: TensorType): void {
  if (vector.shape.length !== 1 || vector.shape[0] !== x.shape[1] || vector.dtype !== x.dtype)
    throw new Error(
      `${op}: ${name} is ${formatShape(vector.shape)} ${vector.dtype}, ` +
        `input ${formatShape(x.shape)} ${x.dtype} has ${x.shape[1]} channels`,
    );
}

/** Throws unless weight and bias are vectors of as many channels as x has. */
export function checkOperands(op: string, [x, weight, bias]: readonly TensorType[]): void {
  checkImages(op, x);
  checkChannels(op, x, "weight", weight);
  checkChannels(op, x, "bias", bias);
}

/** (x − mean) / √(variance + ε), and 1 / √(variance + ε), as functions of x alone. */
export function normalized(x: Tensor, epsilon: number): { xHat: Tensor; inverseStd: Tensor } {
  const centred = sub(x, mean(x, overBatch, { keepDims: true }));
  const inverseStd = div(1, sqrt(add(mean(square(centred), overBatch, { keepDims: true }), epsilon)));
  return { xHat: mul(centred, inverseStd), inverseStd };
}

/** Values well apart, so that the variance is never close to ε. */
const wide = { kind: "distinct" } as const;

/** Element (n, c, h, w) of images. */
export const image = (view: HostView, index: readonly number[]): number =>
  view.data[view.offset + dot(index, view.strides)];

/** Entry c of a `[C]` vector, or of one row of `[2, C]` statistics. */
export const channel = (view: HostView, c: number, row = 0): number =>
  view.data[view.offset + dot(view.strides.length === 2 ? [row, c] : [c], view.strides)];

function withStatistics(inputs: readonly Tensor[], without: number): readonly Tensor[] {
  return inputs.length > without ? inputs : [...inputs, sharedStatistics(inputs[0])];
}

/** Sums of the gradient and of gradient · x̂, which all three gradients of batchNorm need. */
function sharedSums(context: GradientContext<BatchNormAttributes>): Tensor {
  return context.share("sums", () =>
    sumsOp([context.input(0), context.gradient, context.input(3)], context.attributes),
  );
}

/** Inputs x, weight, bias, and the statistics of x. */
const batchNormOp: Op<BatchNormAttributes> = defineOp({
  name: "batchNorm",
  summary: "weight · (x − mean) / √(variance + ε) + bias, with the batch's own statistics",
  completeInputs(inputs) {
    checkOperands("batchNorm", inputs);
    return withStatistics(inputs, 3);
  },
  infer([x, weight, bias]) {
    checkOperands("batchNorm", [x, weight, bias]);
    return x;
  },
  reference([x, weight, bias, statistics], output, { epsilon }) {
    forEachIndex(x.shape, (index) => {
      const c = index[1];
      const inverseStd = 1 / Math.sqrt(channel(statistics, c, 1) + epsilon);
      const xHat = (image(x, index) - channel(statistics, c, 0)) * inverseStd;
      output.data[output.offset + dot(index, output.strides)] = channel(weight, c) * xHat + channel(bias, c);
    });
  },
  gradients: [
    (context) =>
      inputGradientOp(
        [context.input(0), context.input(1), context.gradient, context.input(3), sharedSums(context)],
        context.attributes,
      ),
    (context) => select(sharedSums(context), 0, 1),
    (context) => select(sharedSums(context), 0, 0),
    null,
  ],
  flops: ([x]) => 4 * sizeOf(x.shape),
  samples: () =>
    imageShapes.map((shape) => ({
      inputs: [{ shape, domain: wide }, { shape: [shape[1]] }, { shape: [shape[1]] }],
      attributes: { epsilon: 1e-3 },
    })),
  draw(source) {
    const shape = drawImages(source);
    const vector = { shape: [shape[1]] };
    return {
      inputs: [{ shape, domain: wide }, vector, vector],
      attributes: { epsilon: source.pick([1e-3, 0.1]) },
    };
  },
});

const sumsDefinition = gradientsOf<BatchNormAttributes>([0, 1], ([x, gradient], { epsilon }) => {
  const { xHat } = normalized(x, epsilon);
  return stack([sum(gradient, overBatch), sum(mul(gradient, xHat), overBatch)], 0);
});

/** Inputs x, gradient, and the statistics of x. */
const sumsOp: Op<BatchNormAttributes> = defineOp({
  name: "batchNormSums",
  summary: "[Σ gradient, Σ gradient · x̂] of every channel over N, H and W, as [2, C]",
  completeInputs: (inputs) => withStatistics(inputs, 2),
  infer(inputs) {
    const [x] = inputs;
    checkFloats("batchNormSums", ...inputs);
    checkImages("batchNormSums", x);
    return { shape: [2, x.shape[1]], dtype: x.dtype };
  },
  reference([x, gradient, statistics], output, { epsilon }) {
    const [N, C, H, W] = x.shape;
    for (let c = 0; c < C; c++) {
      const inverseStd = 1 / Math.sqrt(channel(statistics, c, 1) + epsilon);
      let [plain, weighted] = [0, 0];
      forEachIndex([N, H, W], ([n, h, w]) => {
        const g = image(gradient, [n, c, h, w]);
        plain += g;
        weighted += g * (image(x, [n, c, h, w]) - channel(statistics, c, 0)) * inverseStd;
      });
      output.data[output.offset + c * output.strides[1]] = plain;
      output.data[output.offset + output.strides[0] + c * output.strides[1]] = weighted;
    }
  },
  gradients: [sumsDefinition, sumsDefinition, null],
  flops: ([x]) => 5 * sizeOf(x.shape),
  samples: () =>
    imageShapes.map((shape) => ({
      inputs: [{ shape, domain: wide }, { shape }],
      attributes: { epsilon: 1e-3 },
    })),
  draw(source) {
    const shape = drawImages(source);
    return { inputs: [{ shape, domain: wide }, { shape }], attributes: { epsilon: 0.1 } };
  },
});

/** The gradient of the norm's input by other ops, from x, weight and the gradient of its output. */
export function normInputGradient([x, weight, gradient]: readonly Tensor[], epsilon: number): Tensor {
  const { xHat, inverseStd } = normalized(x, epsilon);
  const along = mul(xHat, mean(mul(gradient, xHat), overBatch, { keepDims: true }));
  const centred = sub(sub(gradient, mean(gradient, overBatch, { keepDims: true })), along);
  return mul(mul(perChannel(weight), inverseStd), centred);
}

const inputGradientDefinition = gradientsOf<BatchNormAttributes>([0, 1, 2], (inputs, { epsilon }) =>
  normInputGradient(inputs, epsilon),
);

/** Inputs x, weight, gradient, the statistics of x, and the sums of batchNormSums. */
const inputGradientOp: Op<BatchNormAttributes> = defineOp({
  name: "batchNormInputGradient",
  summary: "weight / σ · (gradient − mean(gradient) − x̂ · mean(gradient · x̂))",
  completeInputs(inputs, attributes) {
    if (inputs.length > 4) return inputs;
    const [x, weight, gradient, statistics] = inputs;
    const known = statistics ?? sharedStatistics(x);
    return [x, weight, gradient, known, sumsOp([x, gradient, known], attributes)];
  },
  infer(inputs) {
    const [x, weight] = inputs;
    checkFloats("batchNormInputGradient", ...inputs);
    checkImages("batchNormInputGradient", x);
    checkChannels("batchNormInputGradient", x, "weight", weight);
    return x;
  },
  reference([x, weight, gradient, statistics, sums], output, { epsilon }) {
    const count = sizeOf(x.shape) / x.shape[1];
    forEachIndex(x.shape, (index) => {
      const c = index[1];
      const inverseStd = 1 / Math.sqrt(channel(statistics, c, 1) + epsilon);
      const xHat = (image(x, index) - channel(statistics, c, 0)) * inverseStd;
      const centred = image(gradient, index) - (channel(sums, c, 0) + xHat * channel(sums, c, 1)) / count;
      output.data[output.offset + dot(index, output.strides)] = channel(weight, c) * inverseStd * centred;
    });
  },
  gradients: [inputGradientDefinition, inputGradientDefinition, inputGradientDefinition, null],
  flops: ([x]) => 7 * sizeOf(x.shape),
  samples: () =>
    imageShapes.map((shape) => ({
      inputs: [{ shape, domain: wide }, { shape: [shape[1]] }, { shape }],
      attributes: { epsilon: 1e-3 },
    })),
  draw(source) {
    const shape = drawImages(source);
    return {
      inputs: [{ shape, domain: wide }, { shape: [shape[1]] }, { shape }],
      attributes: { epsilon: 0.1 },
    };
  },
});

export interface BatchNormOptions {
  /** Added to the variance before the square root; default 1e-5. */
  readonly epsilon?: number;
  /** `batchStatistics(x)`, where they are known already. They must be those of `x`. */
  readonly statistics?: Tensor;
}

/**
 * Normalises `x` `[N, C, H, W]` by the mean and biased variance of each channel over the batch, then scales by
 * `weight` `[C]` and shifts by `bias` `[C]`. Throws when a channel has no value or the vectors do not fit.
 */
export function batchNorm(x: Tensor, weight: Tensor, bias: Tensor, options: BatchNormOptions = {}): Tensor {
  const { epsilon = 1e-5, statistics } = options;
  return batchNormOp(statistics ? [x, weight, bias, statistics] : [x, weight, bias], { epsilon });
}

/** Vectors `[C]` that describe a normalisation with known statistics. */
export interface FixedNormalization {
  readonly mean: Tensor;
  readonly variance: Tensor;
  readonly weight: Tensor;
  readonly bias: Tensor;
  /** Default 1e-5. */
  readonly epsilon?: number;
}

/**
 * Normalises `x` `[N, C, H, W]` with given statistics, as in evaluation:
 * weight · (x − mean) / √(variance + ε) + bias.
 */
export function batchNormWith(x: Tensor, { epsilon = 1e-5, ...vectors }: FixedNormalization): Tensor {
  checkImages("batchNormWith", x);
  for (const [name, vector] of Object.entries(vectors)) checkChannels("batchNormWith", x, name, vector);
  const { mean: average, variance, weight, bias } = vectors;
  const scale = div(weight, sqrt(add(variance, epsilon)));
  return multiplyAdd(x, perChannel(scale), perChannel(sub(bias, mul(average, scale))));
}
