/** The two helpers that reference loops over any strides are written with. */
import type { Shape } from "../../tensor/layout.ts";

/** Visits every index of `shape` in row-major order. The array passed is reused. */
export function forEachIndex(shape: Shape, visit: (index: readonly number[]) => void): void {
  const index = new Array<number>(shape.length).fill(0);
  const walk = (axis: number): void => {
    if (axis === shape.length) visit(index);
    else
      for (let i = 0; i < shape[axis]; i++) {
        index[axis] = i;
        walk(axis + 1);
      }
  };
  walk(0);
}

/** Position of `index` under `strides`. */
export function dot(index: readonly number[], strides: readonly number[]): number {
  let position = 0;
  for (let axis = 0; axis < index.length; axis++) position += index[axis] * strides[axis];
  return position;
}
