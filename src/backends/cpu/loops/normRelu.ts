/**
 * Convolutions that read relu(batchNorm(x)), and the gradients of that norm and ReLU, for engines without WebAssembly:
 * the plain loops one after the other, with norm and ReLU in memory for as long as the call takes.
 */
import type { HostView, Shape } from "../../backend.ts";
import { createTypedArray } from "../../dtype.ts";
import { type BatchNormAttributes, batchNorm, batchNormInputGradient, batchNormSums } from "./batchNorm.ts";
import { type Conv2dAttributes, conv2d, conv2dWeightGradient } from "./conv2d.ts";
import { copy } from "./copy.ts";

type NormedConvolution = Conv2dAttributes & BatchNormAttributes;

function denseLike({ shape, dtype }: HostView): HostView {
  const strides = (axes: Shape) => axes.map((_, axis) => axes.slice(axis + 1).reduce((a, b) => a * b, 1));
  const size = shape.reduce((a, b) => a * b, 1);
  return { data: createTypedArray(dtype, size), dtype, shape, strides: strides(shape), offset: 0 };
}

function normed(
  [x, weight, bias, statistics]: readonly HostView[],
  { epsilon }: BatchNormAttributes,
): HostView {
  const y = denseLike(x);
  batchNorm([x, weight, bias, statistics], y, { epsilon });
  return y;
}

/** relu(batchNorm(x)) */
function activated(inputs: readonly HostView[], attributes: BatchNormAttributes): HostView {
  const y = normed(inputs, attributes);
  for (let i = 0; i < y.data.length; i++) if (y.data[i] <= 0) y.data[i] = 0;
  return y;
}

/** The gradient where the norm is positive, else 0. */
function passed(inputs: readonly HostView[], gradient: HostView, attributes: BatchNormAttributes): HostView {
  const { data: norm } = normed(inputs, attributes);
  const delta = denseLike(gradient);
  copy([gradient], delta, {});
  for (let i = 0; i < norm.length; i++) if (norm[i] <= 0) delta.data[i] = 0;
  return delta;
}

/** x, weight, bias, filter [K, C/groups, R, S], statistics -> conv2d(relu(batchNorm(x)), filter). */
export function normReluConv2d(
  [x, weight, bias, filter, statistics]: readonly HostView[],
  output: HostView,
  attributes: NormedConvolution,
): void {
  conv2d([activated([x, weight, bias, statistics], attributes), filter], output, attributes);
}

/** x, weight, bias, gradient [N, K, P, Q], statistics -> the gradient of the filter. */
export function normReluConv2dWeightGradient(
  [x, weight, bias, gradient, statistics]: readonly HostView[],
  output: HostView,
  attributes: NormedConvolution,
): void {
  const read = activated([x, weight, bias, statistics], attributes);
  conv2dWeightGradient([read, gradient], output, attributes);
}

/** x, weight, bias, gradient [N, C, H, W], statistics -> `batchNormSums` of what the ReLU lets through. */
export function normReluSums(
  [x, weight, bias, gradient, statistics]: readonly HostView[],
  output: HostView,
  attributes: BatchNormAttributes,
): void {
  const delta = passed([x, weight, bias, statistics], gradient, attributes);
  batchNormSums([x, delta, statistics], output, attributes);
}

/** The same inputs, and the sums of `normReluSums` -> `batchNormInputGradient` of what the ReLU lets through. */
export function normReluInputGradient(
  [x, weight, bias, gradient, statistics, sums]: readonly HostView[],
  output: HostView,
  attributes: BatchNormAttributes,
): void {
  const delta = passed([x, weight, bias, statistics], gradient, attributes);
  batchNormInputGradient([x, weight, delta, statistics, sums], output, attributes);
}
