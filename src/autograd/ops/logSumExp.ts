/** logSumExp: the smooth maximum, shifted by the largest element so that nothing overflows. */
import { normalizeAxes, sizeOf } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { defineOp, type Op } from "../defineOp.ts";
import { exp, mul, sub } from "./arithmetic.ts";
import { checkFloats } from "./checks.ts";
import { dot, forEachIndex } from "./indexing.ts";
import { dropAxes, type ReduceAttributes, type ReduceOptions, reducedShape } from "./sum.ts";

declare module "../../backends/backend.ts" {
  interface KernelAttributes {
    logSumExp: ReduceAttributes;
  }
}

const logSumExpKeepingAxes: Op<ReduceAttributes> = defineOp({
  name: "logSumExp",
  summary: "ln Σ exp(x) over `axes`",
  infer([x], { axes }) {
    checkFloats("logSumExp", x);
    return { shape: reducedShape(x.shape, axes), dtype: x.dtype };
  },
  reference([x], output, { axes }) {
    const window = x.shape.map((extent, axis) => (axes.includes(axis) ? extent : 1));
    forEachIndex(output.shape, (reduced) => {
      const start = x.offset + dot(reduced, x.strides);
      let largest = Number.NEGATIVE_INFINITY;
      forEachIndex(window, (step) => {
        largest = Math.max(largest, x.data[start + dot(step, x.strides)]);
      });
      // An infinite largest element is the result; to subtract it would give NaN.
      const shift = Math.abs(largest) === Number.POSITIVE_INFINITY ? 0 : largest;
      let sum = 0;
      forEachIndex(window, (step) => {
        sum += Math.exp(x.data[start + dot(step, x.strides)] - shift);
      });
      output.data[output.offset + dot(reduced, output.strides)] = shift + Math.log(sum);
    });
  },
  gradients: [({ gradient, input, output }) => mul(gradient, exp(sub(input(0), output())))],
  flops: ([x]) => 4 * sizeOf(x.shape),
  samples: () => [
    { inputs: [{ shape: [3, 5] }], attributes: { axes: [1] } },
    { inputs: [{ shape: [2, 3, 7, 1] }], attributes: { axes: [0, 2] } },
    { inputs: [{ shape: [1] }], attributes: { axes: [0] } },
    { inputs: [{ shape: [] }], attributes: { axes: [] } },
    { inputs: [{ shape: [0, 3] }], attributes: { axes: [1] } },
  ],
  draw(source) {
    const shape = source.shape(0, 4);
    return {
      inputs: [{ shape }],
      attributes: { axes: shape.flatMap((_, axis) => (source.boolean() ? [axis] : [])) },
    };
  },
});

/**
 * ln Σ exp(x) over `axes` (one, several, or all when not given); -∞ over no elements.
 * Throws when an axis is out of range or `x` holds integers.
 */
export function logSumExp(x: Tensor, axes?: number | readonly number[], options: ReduceOptions = {}): Tensor {
  const list = normalizeAxes("logSumExp", axes, x.rank);
  return dropAxes(logSumExpKeepingAxes([x], { axes: list }), list, options);
}
