/**
 * Every op in reproducible mode: a recipe of exact steps, or "plain" where the ordinary kernels round nothing (they move,
 * compare or count). An op that stands in neither way does not compile.
 */
import type { KernelAttributes, KernelName, Layout } from "../backend.ts";
import { convolve, convolveBack, convolveWeight, matmul, sumOver } from "./contractions.ts";
import { constant, plus, positivePart } from "./expressions.ts";
import { type Machine, perChannel, type Recipe, sizeOf, through } from "./machine.ts";
import * as norms from "./norms.ts";
import * as pooling from "./pooling.ts";
import { logSoftmax, logSumExp, softmax } from "./softmax.ts";

/** y + bias, in place. */
function addBias<V extends Layout>(machine: Machine<V>, y: V, bias: V | undefined): void {
  if (bias && sizeOf(y.shape) > 0) machine.pointwise([y, perChannel(bias, y)], y, plus);
}

/** Index by index, since the plain kernel is exact where every place is written once. */
const scatterAdd: Recipe<KernelAttributes["scatterAdd"]> = ({
  machine,
  inputs: [values, index],
  inputs,
  output,
  attributes,
  plain,
}) => {
  const { axis } = attributes;
  const count = index.shape[axis];
  if (count <= 1 || sizeOf(output.shape) === 0 || sizeOf(index.shape) === 0) {
    plain(inputs, output, attributes);
    return;
  }
  const at = (view: typeof values, i: number): typeof values =>
    through(
      view,
      view.shape.map((extent, own) => (own === axis ? 1 : extent)),
      view.strides,
      view.offset + i * view.strides[axis],
    );
  machine.pointwise([], output, constant(0));
  const piece = machine.temporary(output.shape);
  for (let i = 0; i < count; i++) {
    plain([at(values, i), at(index, i)], piece, attributes);
    machine.pointwise([output, piece], output, plus);
  }
};

export const recipes: { readonly [K in KernelName]: Recipe<KernelAttributes[K]> | "plain" } = {
  adaptiveAvgPool2d: pooling.adaptiveAvgPool2d,
  adaptiveAvgPool2dInputGradient: pooling.adaptiveAvgPool2dInputGradient,
  argmax: "plain",
  assignAll: ({ machine, inputs, attributes: { assignments, parameters, operands } }) => {
    for (let first = 0; first < inputs.length; first += operands) {
      const row = inputs.slice(first, first + operands);
      for (const { target, expression } of assignments)
        machine.pointwise(row, row[target], expression, parameters);
    }
  },
  avgPool2d: pooling.avgPool2d,
  avgPool2dInputGradient: pooling.avgPool2dInputGradient,
  batchNorm: norms.batchNorm,
  batchNormInputGradient: norms.batchNormInputGradient,
  batchNormSums: norms.batchNormSums,
  batchStatistics: norms.batchStatistics,
  cast: "plain",
  concat: "plain",
  conv2d: ({ machine, inputs: [x, weight, bias], output, attributes }) => {
    convolve(machine, x, weight, output, attributes);
    addBias(machine, output, bias);
  },
  conv2dInputGradient: ({ machine, inputs: [gradient, weight], output, attributes }) =>
    convolveBack(machine, gradient, weight, output, attributes),
  conv2dRelu: ({ machine, inputs: [x, weight, bias], output, attributes }) => {
    convolve(machine, x, weight, output, attributes);
    addBias(machine, output, bias);
    if (sizeOf(output.shape) > 0) machine.pointwise([output], output, positivePart);
  },
  conv2dWeightGradient: ({ machine, inputs: [x, gradient], output, attributes }) =>
    convolveWeight(machine, x, gradient, output, attributes),
  copy: "plain",
  dropoutMask: "plain",
  gather: "plain",
  logSoftmax,
  logSumExp,
  matmul,
  max: "plain",
  maxInputGradient: "plain",
  maxPick: "plain",
  maxPool2d: "plain",
  maxPool2dInputGradient: pooling.maxPool2dInputGradient,
  maxPool2dPick: "plain",
  normReluConv2d: norms.normReluConv2d,
  normReluConv2dWeightGradient: norms.normReluConv2dWeightGradient,
  normReluInputGradient: norms.normReluInputGradient,
  normReluSums: norms.normReluSums,
  pad: "plain",
  pointwise: ({ machine, inputs, output, attributes: { expression, parameters } }) =>
    machine.pointwise(inputs, output, expression, parameters),
  runningStatistics: norms.runningStatistics,
  scatterAdd,
  softmax,
  sum: ({ machine, inputs: [x], output, attributes: { axes } }) => sumOver(machine, x, axes, output),
  upsample: pooling.upsample,
  upsampleInputGradient: pooling.upsampleInputGradient,
};
