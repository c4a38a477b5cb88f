/** softmax, its logarithm and logSumExp: shifted by the largest element, the sum of the rounded exponentials exact. */
import type { Layout } from "../backend.ts";
import { keptOf, reducedLast } from "./contractions.ts";
import { expOfDifference, finiteOrZero, minusLog, plusLog, quotient } from "./expressions.ts";
import { type Machine, type Recipe, sizeOf, through } from "./machine.ts";

/** What `axes` of `x` become: the shift, exp(x − shift) and its sums, the first and last as if of x's shape. */
function exponentials<V extends Layout>(
  machine: Machine<V>,
  x: V,
  axes: readonly number[],
): { readonly shift: V; readonly exponentials: V; readonly sums: V } {
  const shape = x.shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent));
  const [shift, sums] = [machine.temporary(shape), machine.temporary(shape)];
  machine.largest(reducedLast(x, axes), keptOf(shift, axes));
  // An infinite largest element would make NaN of the others.
  machine.pointwise([shift], shift, finiteOrZero);
  const exponentials = machine.temporary(x.shape);
  machine.pointwise([x, stretched(shift, x)], exponentials, expOfDifference);
  machine.sum(reducedLast(exponentials, axes), null, keptOf(sums, axes));
  return { shift, exponentials, sums };
}

/** `view`, with extent 1 where it was reduced, as if of the shape of `like`. */
const stretched = <V extends Layout>(view: V, like: Layout): V =>
  through(
    view,
    like.shape,
    view.strides.map((stride, axis) => (view.shape[axis] === 1 ? 0 : stride)),
  );

interface AxisAttributes {
  readonly axis: number;
}

export const softmax: Recipe<AxisAttributes> = ({ machine, inputs: [x], output, attributes: { axis } }) => {
  if (sizeOf(x.shape) === 0) return;
  const { exponentials: made, sums } = exponentials(machine, x, [axis]);
  machine.pointwise([made, stretched(sums, x)], output, quotient);
};

export const logSoftmax: Recipe<AxisAttributes> = ({
  machine,
  inputs: [x],
  output,
  attributes: { axis },
}) => {
  if (sizeOf(x.shape) === 0) return;
  const { shift, sums } = exponentials(machine, x, [axis]);
  machine.pointwise([x, stretched(shift, x), stretched(sums, x)], output, minusLog);
};

export const logSumExp: Recipe<{ readonly axes: readonly number[] }> = ({
  machine,
  inputs: [x],
  output,
  attributes: { axes },
}) => {
  if (sizeOf(output.shape) === 0) return;
  const { shift, sums } = exponentials(machine, x, axes);
  machine.pointwise([shift, sums], output, plusLog);
};
