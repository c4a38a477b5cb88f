/**
 * Batch normalisation in single roundings: the mean is the exact sum divided by the count, the variance likewise of the
 * rounded differences from it, and x̂ = (x − mean) · (1 / √(variance + ε)). The ops that join norm, ReLU and convolution
 * do the three one after the other.
 */
import type { Layout } from "../backend.ts";
import { convolve, convolveWeight } from "./contractions.ts";
import {
  divided,
  inverseDeviation,
  minus,
  mixed,
  next,
  normal,
  normed,
  normedPositive,
  normGradient,
  passed,
} from "./expressions.ts";
import { type Machine, perChannel, type Recipe, sizeOf, through } from "./machine.ts";

interface Epsilon {
  readonly epsilon: number;
}

/** Row `row` of `[2, C]`. */
const rowOf = <V extends Layout>(view: V, row: 0 | 1): V =>
  through(view, [view.shape[1]], [view.strides[1]], view.offset + row * view.strides[0]);

/** Images `[N, C, H, W]` with the axes that a channel is summed over behind. */
const channelFirst = <V extends Layout>(images: V): V => {
  const order = [1, 0, 2, 3];
  return through(
    images,
    order.map((axis) => images.shape[axis]),
    order.map((axis) => images.strides[axis]),
  );
};

const valuesPerChannel = ({ shape }: Layout): number => sizeOf(shape) / shape[1];

/** x, mean and 1/σ, all of x's shape. */
function normalOperands<V extends Layout>(
  machine: Machine<V>,
  x: V,
  statistics: V,
  epsilon: number,
): [x: V, mean: V, inverse: V] {
  const inverse = machine.temporary([x.shape[1]]);
  machine.pointwise([rowOf(statistics, 1)], inverse, inverseDeviation, [epsilon]);
  return [x, perChannel(rowOf(statistics, 0), x), perChannel(inverse, x)];
}

export const batchStatistics: Recipe<unknown> = ({ machine, inputs: [x], output }) => {
  const count = valuesPerChannel(x);
  const [mean, variance] = [rowOf(output, 0), rowOf(output, 1)];
  const divide = (sum: typeof mean): void => machine.pointwise([sum], sum, divided, [count]);
  machine.sum(channelFirst(x), null, mean);
  divide(mean);
  const centred = machine.temporary(x.shape);
  machine.pointwise([x, perChannel(mean, x)], centred, minus);
  machine.sum(channelFirst(centred), channelFirst(centred), variance);
  divide(variance);
};

export const batchNorm: Recipe<Epsilon> = ({ machine, inputs, output, attributes }) => {
  const [x, weight, bias, statistics] = inputs;
  const operands = normalOperands(machine, x, statistics, attributes.epsilon);
  machine.pointwise([...operands, perChannel(weight, x), perChannel(bias, x)], output, normed);
};

/** [Σ gradient, Σ gradient · x̂] of every channel. */
function sums<V extends Layout>(
  machine: Machine<V>,
  operands: readonly [V, V, V],
  gradient: V,
  output: V,
): void {
  const xHat = machine.temporary(gradient.shape);
  machine.pointwise(operands, xHat, normal);
  machine.sum(channelFirst(gradient), null, rowOf(output, 0));
  machine.sum(channelFirst(gradient), channelFirst(xHat), rowOf(output, 1));
}

export const batchNormSums: Recipe<Epsilon> = ({ machine, inputs, output, attributes }) => {
  const [x, gradient, statistics] = inputs;
  sums(machine, normalOperands(machine, x, statistics, attributes.epsilon), gradient, output);
};

/** weight / σ · (gradient − (sums[0] + x̂ · sums[1]) / count) */
function inputGradient<V extends Layout>(
  machine: Machine<V>,
  operands: readonly [V, V, V],
  [weight, gradient, known]: readonly V[],
  output: V,
): void {
  const [x] = operands;
  machine.pointwise(
    [
      ...operands,
      perChannel(weight, x),
      gradient,
      perChannel(rowOf(known, 0), x),
      perChannel(rowOf(known, 1), x),
    ],
    output,
    normGradient,
    [valuesPerChannel(x)],
  );
}

export const batchNormInputGradient: Recipe<Epsilon> = ({ machine, inputs, output, attributes }) => {
  const [x, weight, gradient, statistics, known] = inputs;
  const operands = normalOperands(machine, x, statistics, attributes.epsilon);
  inputGradient(machine, operands, [weight, gradient, known], output);
};

/** The gradient where the ReLU let its input through, as a tensor. */
function passedGradient<V extends Layout>(
  machine: Machine<V>,
  operands: readonly [V, V, V],
  [weight, bias, gradient]: readonly V[],
): V {
  const [x] = operands;
  const delta = machine.temporary(x.shape);
  machine.pointwise([...operands, perChannel(weight, x), perChannel(bias, x), gradient], delta, passed);
  return delta;
}

export const normReluSums: Recipe<Epsilon> = ({ machine, inputs, output, attributes }) => {
  const [x, weight, bias, gradient, statistics] = inputs;
  const operands = normalOperands(machine, x, statistics, attributes.epsilon);
  sums(machine, operands, passedGradient(machine, operands, [weight, bias, gradient]), output);
};

export const normReluInputGradient: Recipe<Epsilon> = ({ machine, inputs, output, attributes }) => {
  const [x, weight, bias, gradient, statistics, known] = inputs;
  const operands = normalOperands(machine, x, statistics, attributes.epsilon);
  const delta = passedGradient(machine, operands, [weight, bias, gradient]);
  inputGradient(machine, operands, [weight, delta, known], output);
};

interface Window {
  readonly stride: readonly [number, number];
  readonly padding: readonly [number, number, number, number];
  readonly dilation: readonly [number, number];
  readonly groups: number;
}

/** relu(batchNorm(x)) as a tensor. */
function normRelu<V extends Layout>(
  machine: Machine<V>,
  [x, weight, bias, statistics]: readonly V[],
  epsilon: number,
): V {
  const made = machine.temporary(x.shape);
  const operands = normalOperands(machine, x, statistics, epsilon);
  machine.pointwise([...operands, perChannel(weight, x), perChannel(bias, x)], made, normedPositive);
  return made;
}

export const normReluConv2d: Recipe<Epsilon & Window> = ({ machine, inputs, output, attributes }) => {
  const [x, weight, bias, filter, statistics] = inputs;
  const made = normRelu(machine, [x, weight, bias, statistics], attributes.epsilon);
  convolve(machine, made, filter, output, attributes);
};

export const normReluConv2dWeightGradient: Recipe<Epsilon & Window> = ({
  machine,
  inputs,
  output,
  attributes,
}) => {
  const [x, weight, bias, gradient, statistics] = inputs;
  const made = normRelu(machine, [x, weight, bias, statistics], attributes.epsilon);
  convolveWeight(machine, made, gradient, output, attributes);
};

interface RunningAttributes {
  readonly momentum: number;
  readonly correction: number;
}

/** running = (1 − momentum) · running + (momentum · correction) · newest, the factors rounded to f32. */
export const runningStatistics: Recipe<RunningAttributes> = ({ machine, inputs, attributes }) => {
  const [mean, variance, batches, batchMean, batchVariance] = inputs;
  const { momentum, correction } = attributes;
  machine.pointwise([mean, batchMean], mean, mixed, [1 - momentum, momentum]);
  machine.pointwise([variance, batchVariance], variance, mixed, [1 - momentum, momentum * correction]);
  machine.pointwise([batches], batches, next);
};
