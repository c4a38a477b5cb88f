/**
 * Copies, joins and margins in SIMD, wherever rows of both operands lie without gaps; other layouts go to the loops.
 *
 * Measured against the loops, which copy runs of 96 elements and more by TypedArray.set, in ns per element of
 * [64, 32, 14, 14] and [64, 48, 7, 7]:
 *
 *     channel slice, concat        0.16 -> 0.12     0.17 -> 0.13
 *     five channels                0.19 -> 0.12     0.84 -> 0.16
 *     inside of a padded image     2.5  -> 0.34     2.7  -> 0.63
 *     pad by a pixel               5.5  -> 0.57     6.5  -> 0.95
 *     pad by channels              3.6  -> 0.18     3.2  -> 0.19
 */
import type { HostKernel, HostView } from "../../../backend.ts";
import { input as elementOf } from "../../../expression.ts";
import type { ConcatAttributes } from "../../loops/concat.ts";
import type { CopyAttributes } from "../../loops/copy.ts";
import type { PadAttributes } from "../../loops/pad.ts";
import { addressOf, type WasmRuntime } from "../runtime.ts";
import { clearedBlockBytes, type PlaneKernels } from "./planes.ts";
import { pointwiseKernel } from "./pointwise.ts";
import { floatBytes } from "./rows.ts";

export interface CopyKernels {
  readonly copy: HostKernel<CopyAttributes>;
  readonly concat: HostKernel<ConcatAttributes>;
  readonly pad: HostKernel<PadAttributes>;
}

/** A copy is the pointwise expression of its only input. */
const identity = { expression: elementOf(0), parameters: [] };

/** The fast kernels; what they do not take goes to `fallback`. */
export function copyKernels(
  runtime: WasmRuntime,
  { clearBlocks }: PlaneKernels,
  fallback: CopyKernels,
): CopyKernels {
  const move = pointwiseKernel(runtime, (inputs, output) => fallback.copy(inputs, output, {}));

  const copy: CopyKernels["copy"] = (inputs, output) => {
    const [input] = inputs;
    const { dtype } = output;
    // Bytes are best copied by TypedArray.set, as the loops do, and f64 too.
    if (dtype !== "f32" && dtype !== "i32") {
      fallback.copy(inputs, output, {});
      return;
    }
    const { strides } = output;
    let isInOrder = true;
    for (let axis = 1; axis < strides.length; axis++)
      if (strides[axis] > strides[axis - 1]) isInOrder = false;
    if (isInOrder && dtype === "f32") {
      move(inputs, output, identity);
      return;
    }
    // Axes in the order of the output's memory, so that the densest is the innermost; all 32 bits are copied alike.
    const order = output.shape.map((_, axis) => axis).sort((a, b) => strides[b] - strides[a]);
    const inOrder = (view: HostView): HostView => ({
      ...view,
      dtype: "f32",
      shape: order.map((axis) => view.shape[axis]),
      strides: order.map((axis) => view.strides[axis]),
    });
    move([inOrder(input)], inOrder(output), identity);
  };

  const concat: CopyKernels["concat"] = (inputs, output, { axis }) => {
    let start = 0;
    for (const input of inputs) {
      copy(
        [input],
        { ...output, shape: input.shape, offset: output.offset + start * output.strides[axis] },
        {},
      );
      start += input.shape[axis];
    }
  };

  /** Fills with the value, then copies the input into the middle. */
  const pad: CopyKernels["pad"] = (inputs, output, attributes) => {
    const { padding, value } = attributes;
    const gapless = output.strides.every(
      (stride, axis) => stride === output.shape.slice(axis + 1).reduce((a, extent) => a * extent, 1),
    );
    if (!gapless || !runtime.accepts([...inputs, output])) {
      fallback.pad(inputs, output, attributes);
      return;
    }
    const length = output.shape.reduce((a, extent) => a * extent, 1);
    const bytes = floatBytes * length;
    if (value === 0)
      runtime.forRange(clearBlocks, Math.ceil(bytes / clearedBlockBytes), [addressOf(output), bytes]);
    else {
      runtime.settle();
      output.data.fill(value, output.offset, output.offset + length);
    }
    const corner = padding.reduce(
      (sum, [before], axis) => sum + before * output.strides[axis],
      output.offset,
    );
    copy(inputs, { ...output, shape: inputs[0].shape, offset: corner }, {});
  };

  return { copy, concat, pad };
}
