/** What convolution and pooling have in common: sizes given as a number or a pair, and how many windows fit. */
import { formatShape, type Shape } from "../../tensor/layout.ts";

/** One value for height and width, or both. */
export type Pair = number | readonly [vertical: number, horizontal: number];

/** One margin for all sides, or [vertical, horizontal], or [top, bottom, left, right]. */
export type Padding =
  | number
  | readonly [vertical: number, horizontal: number]
  | readonly [top: number, bottom: number, left: number, right: number];

/** The values of `setting` for height and width. Throws unless both are integers >= 1. */
export function pair(
  op: string,
  setting: string,
  value: Pair,
): readonly [vertical: number, horizontal: number] {
  const both = typeof value === "number" ? ([value, value] as const) : value;
  if (both.length !== 2 || !both.every((n) => Number.isInteger(n) && n >= 1))
    throw new Error(`${op}: ${setting} ${format(value)} must be an integer >= 1 or a pair of such`);
  return both;
}

/** The margin of each side: top, bottom, left, right. Throws unless all are integers >= 0. */
export function padding4(
  op: string,
  value: Padding,
): readonly [top: number, bottom: number, left: number, right: number] {
  const given = typeof value === "number" ? ([value, value] as const) : value;
  if ((given.length !== 2 && given.length !== 4) || !given.every((n) => Number.isInteger(n) && n >= 0))
    throw new Error(
      `${op}: padding ${format(value)} must be an integer >= 0, [vertical, horizontal] or [top, bottom, left, right]`,
    );
  if (given.length === 4) return given;
  const [vertical, horizontal] = given;
  return [vertical, vertical, horizontal, horizontal];
}

function format(value: number | Shape): string {
  return typeof value === "number" ? String(value) : formatShape(value);
}

/** Elements from the first to the last tap of a window, both included. */
export function windowReach(kernel: number, dilation: number): number {
  return dilation * (kernel - 1) + 1;
}

/**
 * How many windows of `kernel` taps, `dilation` apart, moving by `stride`, fit into `size` elements with margins:
 * floor((size + padBefore + padAfter - dilation * (kernel - 1) - 1) / stride) + 1. Throws when none fits.
 */
export function outputExtent(
  op: string,
  size: number,
  kernel: number,
  stride: number,
  padBefore: number,
  padAfter: number,
  dilation: number,
): number {
  const reach = windowReach(kernel, dilation);
  const room = size + padBefore + padAfter;
  if (reach > room)
    throw new Error(
      `${op}: a window of ${reach} (kernel ${kernel}, dilation ${dilation}) does not fit into ${room} ` +
        `(extent ${size}, padding ${padBefore} + ${padAfter}); use a larger input, more padding or a smaller kernel`,
    );
  return Math.floor((room - reach) / stride) + 1;
}

/** Throws unless `shape` is that of a batch of images. */
export function checkImages(op: string, shape: Shape): void {
  if (shape.length !== 4)
    throw new Error(
      `${op}: input ${formatShape(shape)} has ${shape.length} dimensions, not the 4 of [N, C, H, W]; ` +
        "bring it there with reshape() or unsqueeze()",
    );
}
