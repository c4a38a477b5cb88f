/** mean and variance, as compositions of sums. */
import { normalizeAxes, sizeOf } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { mul, square, sub } from "./arithmetic.ts";
import { checkFloats } from "./checks.ts";
import { dropAxes, type ReduceOptions, sum } from "./sum.ts";

const elementsOver = (x: Tensor, axes: readonly number[]): number =>
  sizeOf(axes.map((axis) => x.shape[axis]));

/**
 * The mean over `axes` (one, several, or all when not given); NaN over no elements.
 * Throws when an axis is out of range or `x` holds integers.
 */
export function mean(x: Tensor, axes?: number | readonly number[], options: ReduceOptions = {}): Tensor {
  checkFloats("mean", x);
  const list = normalizeAxes("mean", axes, x.rank);
  return mul(sum(x, list, options), 1 / elementsOver(x, list));
}

export interface VarianceOptions extends ReduceOptions {
  /** Subtracted from the number of elements: 1 for the unbiased estimate, 0 for the biased. Default 1. */
  readonly correction?: number;
}

/**
 * Σ (x - mean)² / (n - correction) over `axes` (one, several, or all when not given); NaN where n = correction.
 * Throws when an axis is out of range or `x` holds integers.
 */
export function variance(
  x: Tensor,
  axes?: number | readonly number[],
  { correction = 1, keepDims = false }: VarianceOptions = {},
): Tensor {
  checkFloats("variance", x);
  const list = normalizeAxes("variance", axes, x.rank);
  const deviations = square(sub(x, mean(x, list, { keepDims: true })));
  const degrees = Math.max(0, elementsOver(x, list) - correction);
  return dropAxes(mul(sum(deviations, list, { keepDims: true }), 1 / degrees), list, { keepDims });
}
