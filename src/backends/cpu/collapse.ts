/** Merges axes that are dense in every operand, so that elementwise loops run long and few. */
import type { Layout } from "../backend.ts";

/** Extents of the remaining axes, outermost first, and the strides of every operand along them. */
export interface CollapsedLoop {
  readonly shape: number[];
  /** `strides[operand][axis]` */
  readonly strides: number[][];
}

/** All operands must have the same shape. The result has no axis of extent 1; a scalar has no axes at all. */
export function collapseAxes(operands: readonly Layout[]): CollapsedLoop {
  const full = operands[0].shape;
  // Made at their full length and cut: pushing onto an empty array reserves room for 17 numbers.
  const shape = new Array<number>(full.length);
  const strides = operands.map(() => new Array<number>(full.length));
  let rank = 0;
  for (let axis = 0; axis < full.length; axis++) {
    const extent = full[axis];
    if (extent === 1) continue;
    const dense = rank > 0 && isDense(operands, strides, rank - 1, axis, extent);
    if (!dense) rank += 1;
    shape[rank - 1] = dense ? shape[rank - 1] * extent : extent;
    for (let i = 0; i < operands.length; i++) strides[i][rank - 1] = operands[i].strides[axis];
  }
  if (rank === full.length) return { shape, strides };
  return { shape: shape.slice(0, rank), strides: strides.map((axes) => axes.slice(0, rank)) };
}

/** True when in every operand a step of the last merged axis is as long as the whole of `axis`. */
function isDense(
  operands: readonly Layout[],
  strides: readonly (readonly number[])[],
  last: number,
  axis: number,
  extent: number,
): boolean {
  for (let i = 0; i < operands.length; i++)
    if (strides[i][last] !== operands[i].strides[axis] * extent) return false;
  return true;
}
