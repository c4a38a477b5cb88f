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
  const shape: number[] = [];
  const strides: number[][] = operands.map(() => []);
  operands[0].shape.forEach((extent, axis) => {
    if (extent === 1) return;
    const last = shape.length - 1;
    const dense =
      last >= 0 && operands.every((operand, i) => strides[i][last] === operand.strides[axis] * extent);
    if (dense) shape[last] *= extent;
    else shape.push(extent);
    operands.forEach((operand, i) => {
      if (dense) strides[i][last] = operand.strides[axis];
      else strides[i].push(operand.strides[axis]);
    });
  });
  return { shape, strides };
}
