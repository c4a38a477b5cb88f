/** Which parts of one piece of memory two views look at: whether they share an element, whether they lie side by side. */
import type { Layout } from "./layout.ts";

const sameNumbers = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((value, i) => value === b[i]);

/** The first element after a view, for strides that are not negative. */
function endOf({ shape, strides, offset }: Layout): number {
  return shape.reduce((last, extent, axis) => last + (extent - 1) * strides[axis], offset) + 1;
}

/**
 * By axis, where the view begins in the row-major array that it is cut out of; null when it is no box of one, as far as
 * the strides say.
 */
function boxStart({ shape, strides, offset }: Layout): number[] | null {
  const start: number[] = [];
  let rest = offset;
  for (let axis = 0; axis < shape.length; axis++) {
    const stride = strides[axis];
    if (stride < 1 || (axis > 0 && strides[axis - 1] % stride !== 0)) return null;
    start.push(Math.floor(rest / stride));
    rest %= stride;
    if (axis > 0 && start[axis] + shape[axis] > strides[axis - 1] / stride) return null;
  }
  return start;
}

/**
 * Whether two views of one piece of memory certainly have no element in common: they lie in different stretches of it,
 * or are different boxes of one row-major array, as slices are. False where that cannot be told at a glance.
 */
export function areDisjoint(a: Layout, b: Layout): boolean {
  const layouts = [a, b];
  if (layouts.some(({ shape }) => shape.includes(0))) return true;
  if (layouts.some(({ strides }) => strides.some((stride) => stride < 0))) return false;
  if (endOf(a) <= b.offset || endOf(b) <= a.offset) return true;
  if (!sameNumbers(a.strides, b.strides)) return false;
  const [first, second] = layouts.map(boxStart);
  if (!first || !second) return false;
  return a.shape.some(
    (extent, axis) => first[axis] + extent <= second[axis] || second[axis] + b.shape[axis] <= first[axis],
  );
}

/** Whether `next` begins where `view` ends along `axis`, and is as wide along all others: then both are one view. */
export function continues(view: Layout, next: Layout, axis: number): boolean {
  return (
    sameNumbers(view.strides, next.strides) &&
    next.offset === view.offset + view.shape[axis] * view.strides[axis] &&
    view.shape.every((extent, i) => i === axis || extent === next.shape[i])
  );
}
