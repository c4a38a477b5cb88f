/** permute: the same memory with its axes in another order. */
import { formatShape, normalizeAxis } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { defineView, type ViewOp } from "../defineOp.ts";

interface PermuteAttributes {
  /** Axis i of the result is axis order[i] of the input. */
  readonly order: readonly number[];
}

const permuteView: ViewOp<PermuteAttributes> = defineView<PermuteAttributes>({
  name: "permute",
  summary: "x with its axes in another order, without a copy",
  layout: ({ shape, strides, offset }, { order }) => ({
    shape: order.map((axis) => shape[axis]),
    strides: order.map((axis) => strides[axis]),
    offset,
  }),
  gradients: [
    ({ gradient, attributes: { order } }) =>
      permuteView(gradient, { order: order.map((_, i) => order.indexOf(i)) }),
  ],
  samples: () => [
    { inputs: [{ shape: [2, 3, 4] }], attributes: { order: [2, 0, 1] } },
    { inputs: [{ shape: [] }], attributes: { order: [] } },
  ],
  draw(source) {
    const shape = source.shape(0, 4);
    const left = shape.map((_, axis) => axis);
    const order = shape.map(() => left.splice(source.integer(0, left.length - 1), 1)[0]);
    return { inputs: [{ shape }], attributes: { order } };
  },
});

/** `x` with axis i taken from axis order[i]. Throws unless `order` is a permutation of the axes. */
export function permute(x: Tensor, order: readonly number[]): Tensor {
  const axes = order.map((axis) => normalizeAxis("permute", axis, x.rank));
  if (axes.length !== x.rank || new Set(axes).size !== x.rank)
    throw new Error(`permute: [${order.join(", ")}] is not an order of the axes of ${formatShape(x.shape)}`);
  return permuteView(x, { order: axes });
}

/** `x` with two axes exchanged, by default the last two (the matrix transpose). */
export function transpose(x: Tensor, axisA = -2, axisB = -1): Tensor {
  const a = normalizeAxis("transpose", axisA, x.rank);
  const b = normalizeAxis("transpose", axisB, x.rank);
  return permute(
    x,
    x.shape.map((_, axis) => (axis === a ? b : axis === b ? a : axis)),
  );
}
