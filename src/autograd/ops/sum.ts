/**
 * sum and expand, each the other's gradient: what was summed along an axis receives the same gradient everywhere,
 * what was read many times receives the sum of its readers' gradients.
 */
import { isFloat } from "../../backends/dtype.ts";
import {
  broadcastAxes,
  broadcastLayout,
  formatShape,
  normalizeAxes,
  type Shape,
  sameShape,
  sizeOf,
} from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { defineOp, defineView } from "../defineOp.ts";
import { dot, forEachIndex } from "./indexing.ts";
import { reshape } from "./reshape.ts";

declare module "../../backends/backend.ts" {
  interface KernelAttributes {
    sum: ReduceAttributes;
  }
}

/** Which axes a reduction runs over; they stay in the output with extent 1. */
export interface ReduceAttributes {
  readonly axes: readonly number[];
}

/** The shape with `axes` reduced to extent 1. */
export function reducedShape(shape: Shape, axes: readonly number[]): number[] {
  return shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent));
}

const sumKeepingAxes = defineOp({
  name: "sum",
  summary: "Σ x over `axes`",
  infer: ([x], { axes }) => ({
    shape: reducedShape(x.shape, axes),
    // A byte cannot count: sums of booleans and bytes are i32.
    dtype: isFloat(x.dtype) ? x.dtype : "i32",
  }),
  reference([x], output) {
    const strides = output.shape.map((extent, axis) => (extent === 1 ? 0 : output.strides[axis]));
    // Sums in f64 whatever the dtype: one rounding at the end.
    const sums = new Map<number, number>();
    forEachIndex(output.shape, (index) => sums.set(dot(index, strides), 0));
    forEachIndex(x.shape, (index) => {
      const position = dot(index, strides);
      sums.set(position, (sums.get(position) ?? 0) + x.data[x.offset + dot(index, x.strides)]);
    });
    for (const [position, value] of sums) output.data[output.offset + position] = value;
  },
  gradients: [({ gradient, inputs }) => expand(gradient, inputs[0].shape)],
  flops: ([x]) => sizeOf(x.shape),
  samples: () => [
    { inputs: [{ shape: [2, 3] }], attributes: { axes: [1] } },
    { inputs: [{ shape: [3, 5, 7, 2] }], attributes: { axes: [0, 2, 3] } },
    { inputs: [{ shape: [1] }], attributes: { axes: [0] } },
    { inputs: [{ shape: [] }], attributes: { axes: [] } },
    { inputs: [{ shape: [2, 0, 3] }], attributes: { axes: [1] } },
  ],
  draw(source) {
    const shape = source.shape(0, 4);
    return {
      inputs: [{ shape }],
      attributes: { axes: shape.flatMap((_, i) => (source.boolean() ? [i] : [])) },
    };
  },
});

/** Options of reductions. */
export interface ReduceOptions {
  /** Keep the reduced axes with extent 1. Default false. */
  readonly keepDims?: boolean;
}

/** Removes reduced axes from a result that kept them, unless `keepDims`. */
export function dropAxes(
  reduced: Tensor,
  axes: readonly number[],
  { keepDims = false }: ReduceOptions,
): Tensor {
  return keepDims
    ? reduced
    : reshape(
        reduced,
        reduced.shape.filter((_, axis) => !axes.includes(axis)),
      );
}

/**
 * The sum over `axes` (one, several, or all when not given), in the dtype of `x`; booleans and bytes are summed as i32.
 * Throws when an axis is out of range.
 */
export function sum(x: Tensor, axes?: number | readonly number[], options: ReduceOptions = {}): Tensor {
  const list = normalizeAxes("sum", axes, x.rank);
  return dropAxes(sumKeepingAxes([x], { axes: list }), list, options);
}

const expandView = defineView<{ readonly shape: Shape }>({
  name: "expand",
  summary: "x read as if stretched to `shape`, without a copy",
  layout: (input, { shape }) => broadcastLayout("expand", input, shape),
  gradients: [({ gradient, inputs }) => sumTo(gradient, inputs[0].shape)],
  samples: () => [
    { inputs: [{ shape: [3, 1] }], attributes: { shape: [3, 4] } },
    { inputs: [{ shape: [] }], attributes: { shape: [2, 2] } },
    { inputs: [{ shape: [1, 5] }], attributes: { shape: [2, 1, 5] } },
    { inputs: [{ shape: [1] }], attributes: { shape: [0] } },
  ],
  draw(source) {
    const shape = source.shape(0, 4);
    const kept = shape.slice(source.integer(0, shape.length));
    return { inputs: [{ shape: kept.map((n) => (source.boolean() ? 1 : n)) }], attributes: { shape } };
  },
});

/** `x` broadcast to `shape` as a view. Throws when it does not broadcast. */
export function expand(x: Tensor, shape: Shape): Tensor {
  return sameShape(x.shape, shape) ? x : expandView(x, { shape });
}

/** The adjoint of broadcasting: sums over every axis along which `shape` was stretched to become `x.shape`. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  const axes = broadcastAxes(shape, x.shape);
  if (!sameShape(reducedShape(x.shape, axes).slice(x.rank - shape.length), shape))
    throw new Error(`sumTo: ${formatShape(shape)} does not broadcast to ${formatShape(x.shape)}`);
  return reshape(axes.length > 0 ? sumKeepingAxes([x], { axes }) : x, shape);
}
