/** How a sum of products is walked through: which axis of the output a kernel takes several elements of at a time. */
import type { Layout } from "../backend.ts";
import { collapseAxes } from "../cpu/collapse.ts";

/** Extents and, by operand, strides. */
export interface Axes {
  readonly shape: readonly number[];
  readonly strides: readonly (readonly number[])[];
}

/** An axis along which one factor is the same for all outputs, and the other is not. */
export interface SharedAxis {
  readonly extent: number;
  /** Strides of the output and of the factor that changes. */
  readonly output: number;
  readonly changing: number;
}

export interface SumPlan {
  /** Axes of the output, those of output, first and second factor; without the shared one. */
  readonly kept: Axes;
  /** Axes that are summed over, of first and second factor, the longest first. */
  readonly summed: Axes;
  /** The first factor is the one that changes along it; null where there is no such axis. */
  readonly shared: SharedAxis | null;
  /** Whether `first` is what was given as `b`. */
  readonly isSwapped: boolean;
}

const withoutAxis = (axes: Axes, left: number): Axes => ({
  shape: axes.shape.filter((_, axis) => axis !== left),
  strides: axes.strides.map((own) => own.filter((_, axis) => axis !== left)),
});

/** `a` and `b` have the shape of `output` and then the axes to sum over; without `b` all of its strides are 0. */
export function planSum(a: Layout, b: Layout | null, output: Layout): SumPlan {
  const rank = output.shape.length;
  const zeros = a.shape.map(() => 0);
  const part = (strides: readonly number[], from: number, to?: number): Layout => ({
    shape: a.shape.slice(from, to),
    strides: strides.slice(from, to),
    offset: 0,
  });
  const [first, second] = [a.strides, b ? b.strides : zeros];
  const keptAxes = collapseAxes([part(output.strides, 0, rank), part(first, 0, rank), part(second, 0, rank)]);
  const summedAxes = collapseAxes([part(first, rank), part(second, rank)]);
  const order = summedAxes.shape
    .map((_, axis) => axis)
    .sort((i, j) => summedAxes.shape[j] - summedAxes.shape[i]);
  const summed: Axes = {
    shape: order.map((axis) => summedAxes.shape[axis]),
    strides: summedAxes.strides.map((own) => order.map((axis) => own[axis])),
  };
  const [outputStrides, firstStrides, secondStrides] = keptAxes.strides;
  let best = -1;
  keptAxes.shape.forEach((extent, axis) => {
    const isShared = (firstStrides[axis] === 0) !== (secondStrides[axis] === 0);
    if (isShared && (best < 0 || extent > keptAxes.shape[best])) best = axis;
  });
  if (best < 0) return { kept: keptAxes, summed, shared: null, isSwapped: false };
  const isSwapped = firstStrides[best] === 0;
  const turned = ([one, two]: readonly (readonly number[])[]): (readonly number[])[] =>
    isSwapped ? [two, one] : [one, two];
  return {
    kept: withoutAxis(
      { shape: keptAxes.shape, strides: [outputStrides, ...turned([firstStrides, secondStrides])] },
      best,
    ),
    summed: { shape: summed.shape, strides: turned(summed.strides) },
    shared: {
      extent: keptAxes.shape[best],
      output: outputStrides[best],
      changing: isSwapped ? secondStrides[best] : firstStrides[best],
    },
    isSwapped,
  };
}
