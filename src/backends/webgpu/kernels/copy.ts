/** Ops that only move elements: copy, cast and concat, as pointwise kernels of one input. */
import type { KernelAttributes } from "../../backend.ts";
import { type Expression, input, notEqual } from "../../expression.ts";
import type { GpuKernel, GpuView } from "../runtime.ts";
import { launchPointwise } from "./pointwise.ts";

/** The expression of an op that only moves elements. */
export const same = { expression: input(0), parameters: [] };
const isNotZero: Expression = notEqual(input(0), 0);

export const copy: GpuKernel<KernelAttributes["copy"]> = (runtime, [x], output) =>
  launchPointwise(runtime, "copy", [x], output, same);

/** Floats are truncated towards zero for integers; bool is x ≠ 0. */
export const cast: GpuKernel<KernelAttributes["cast"]> = (runtime, [x], output, { dtype }) =>
  launchPointwise(runtime, "cast", [x], output, {
    expression: dtype === "bool" ? isNotZero : input(0),
    parameters: [],
  });

/** Each input into its stretch of the output. */
export const concat: GpuKernel<KernelAttributes["concat"]> = (runtime, inputs, output, { axis }) => {
  let { offset } = output;
  for (const x of inputs) {
    const stretch: GpuView = { buffer: output.buffer, shape: x.shape, strides: output.strides, offset };
    launchPointwise(runtime, "concat", [x], stretch, same);
    offset += x.shape[axis] * output.strides[axis];
  }
};
