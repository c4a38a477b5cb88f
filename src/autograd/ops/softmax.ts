/** softmax and its logarithm along one axis, shifted by the largest value so that nothing overflows. */
import type { HostView } from "../../backends/backend.ts";
import { normalizeAxis, sizeOf } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { defineOp, type Op, type Sample, type SampleSource, type TensorType } from "../defineOp.ts";
import { exp, mul, sub } from "./arithmetic.ts";
import { checkFloats } from "./checks.ts";
import { dot, forEachIndex } from "./indexing.ts";
import { reducedShape, sum } from "./sum.ts";

declare module "../../backends/backend.ts" {
  interface KernelAttributes {
    softmax: AxisAttributes;
    logSoftmax: AxisAttributes;
  }
}

interface AxisAttributes {
  readonly axis: number;
}

const sameType =
  (op: string) =>
  ([x]: readonly TensorType[]): TensorType => {
    checkFloats(op, x);
    return x;
  };

/** Writes `value(x - largest, Σ exp(x - largest))` for every element, largest and Σ taken along `axis`. */
function normalizeAlong(
  x: HostView,
  output: HostView,
  axis: number,
  value: (shifted: number, sum: number) => number,
): void {
  const step = x.strides[axis];
  forEachIndex(reducedShape(x.shape, [axis]), (index) => {
    const from = x.offset + dot(index, x.strides);
    const to = output.offset + dot(index, output.strides);
    let largest = Number.NEGATIVE_INFINITY;
    for (let i = 0; i < x.shape[axis]; i++) largest = Math.max(largest, x.data[from + i * step]);
    let sum = 0;
    for (let i = 0; i < x.shape[axis]; i++) sum += Math.exp(x.data[from + i * step] - largest);
    for (let i = 0; i < x.shape[axis]; i++)
      output.data[to + i * output.strides[axis]] = value(x.data[from + i * step] - largest, sum);
  });
}

const samples = (): readonly Sample<AxisAttributes>[] => [
  { inputs: [{ shape: [3, 5] }], attributes: { axis: 1 } },
  { inputs: [{ shape: [2, 3, 2, 2] }], attributes: { axis: 1 } },
  { inputs: [{ shape: [7] }], attributes: { axis: 0 } },
  { inputs: [{ shape: [4, 1] }], attributes: { axis: 1 } },
  { inputs: [{ shape: [0, 3] }], attributes: { axis: 1 } },
  { inputs: [{ shape: [3, 0] }], attributes: { axis: 1 } },
];

const draw = (source: SampleSource): Sample<AxisAttributes> => {
  const shape = source.shape(1, 4);
  return { inputs: [{ shape }], attributes: { axis: source.integer(0, shape.length - 1) } };
};

/** Maximum, difference, exponential, sum and division. */
const flops = ([x]: readonly TensorType[]): number => 5 * sizeOf(x.shape);

const softmaxOp: Op<AxisAttributes> = defineOp({
  name: "softmax",
  summary: "exp(x) / Σ exp(x) along `axis`",
  infer: sameType("softmax"),
  reference: ([x], output, { axis }) =>
    normalizeAlong(x, output, axis, (shifted, total) => Math.exp(shifted) / total),
  gradients: [
    ({ gradient, output, attributes: { axis } }) => {
      const y = output();
      return mul(y, sub(gradient, sum(mul(gradient, y), axis, { keepDims: true })));
    },
  ],
  flops,
  samples,
  draw,
});

const logSoftmaxOp: Op<AxisAttributes> = defineOp({
  name: "logSoftmax",
  summary: "x − ln Σ exp(x) along `axis`",
  infer: sameType("logSoftmax"),
  reference: ([x], output, { axis }) =>
    normalizeAlong(x, output, axis, (shifted, total) => shifted - Math.log(total)),
  gradients: [
    ({ gradient, output, attributes: { axis } }) =>
      sub(gradient, mul(exp(output()), sum(gradient, axis, { keepDims: true }))),
  ],
  flops,
  samples,
  draw,
});

/** exp(x) / Σ exp(x) along `axis`: positive numbers that add up to 1. Throws when the axis is out of range. */
export function softmax(x: Tensor, axis: number): Tensor {
  return softmaxOp([x], { axis: normalizeAxis("softmax", axis, x.rank) });
}

/** x - ln Σ exp(x) along `axis`, exact where softmax would round to 0. Throws when the axis is out of range. */
export function logSoftmax(x: Tensor, axis: number): Tensor {
  return logSoftmaxOp([x], { axis: normalizeAxis("logSoftmax", axis, x.rank) });
}
