/** Merges axes that are dense in every operand, so that elementwise loops run long and few. */
import type { Layout } from "../backend.ts";

/** Extents of the remaining axes, outermost first, and the strides of every operand along them. */
export interface CollapsedLoop {
  readonly shape: number[];
  /** `strides[operand][axis]` */
  readonly strides: number[][];
}

/**
 * Collapses one call's axes after another's in the same memory: a kernel that takes less than a microsecond would
 * spend much of it on arrays.
 */
export class AxisCollapser {
  /** How many axes are left. */
  rank = 0;
  /** Extents, outermost first; those from `rank` on mean nothing. */
  readonly shape: number[] = [];
  /** By operand, then by axis. */
  readonly strides: number[][] = [];

  /** All operands must have the same shape. No axis of extent 1 is left; a scalar has no axes at all. */
  collapse(first: Layout, others: readonly Layout[]): void {
    const { shape, strides } = this;
    const full = first.shape;
    const operands = others.length + 1;
    while (strides.length < operands) strides.push([]);
    let rank = 0;
    for (let axis = 0; axis < full.length; axis++) {
      const extent = full[axis];
      if (extent === 1) continue;
      let isDense = rank > 0;
      for (let i = 0; isDense && i < operands; i++)
        isDense = strides[i][rank - 1] === (i === 0 ? first : others[i - 1]).strides[axis] * extent;
      if (!isDense) rank += 1;
      shape[rank - 1] = isDense ? shape[rank - 1] * extent : extent;
      for (let i = 0; i < operands; i++)
        strides[i][rank - 1] = (i === 0 ? first : others[i - 1]).strides[axis];
    }
    this.rank = rank;
  }
}

/** The same for a single call. */
export function collapseAxes(operands: readonly Layout[]): CollapsedLoop {
  const axes = new AxisCollapser();
  axes.collapse(operands[0], operands.slice(1));
  return {
    shape: axes.shape.slice(0, axes.rank),
    strides: axes.strides.map((strides) => strides.slice(0, axes.rank)),
  };
}
