/** What convolution and pooling have in common: sizes given as a number or a pair, and how many windows fit. */
import { formatShape, type Shape } from "../../tensor/layout.ts";

/** One value for height and width, or both. */
export type NumberOrPair = number | readonly [height: number, width: number];

/** One margin for all sides, or [vertical, horizontal], or [top, bottom, left, right]. */
export type PaddingSize =
  | number
  | readonly [vertical: number, horizontal: number]
  | readonly [top: number, bottom: number, left: number, right: number];

/** Both entries of a size for height and width. */
export function pair(value: NumberOrPair): readonly [height: number, width: number] {
  return typeof value === "number" ? [value, value] : value;
}

/** The margin of each side: top, bottom, left, right. */
export function padding4(
  value: PaddingSize,
): readonly [top: number, bottom: number, left: number, right: number] {
  if (typeof value === "number") return [value, value, value, value];
  if (value.length === 4) return value;
  const [vertical, horizontal] = value;
  return [vertical, vertical, horizontal, horizontal];
}

/**
 * How many windows of `kernel` taps, `dilation` apart, moving by `stride`, fit into `size` elements with margins:
 * floor((size + padBefore + padAfter - dilation * (kernel - 1) - 1) / stride) + 1.
 * Throws when none fits, or when a setting is not an integer in its range.
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
  checkSetting(op, "kernel size", kernel, 1);
  checkSetting(op, "stride", stride, 1);
  checkSetting(op, "dilation", dilation, 1);
  checkSetting(op, "padding", padBefore, 0);
  checkSetting(op, "padding", padAfter, 0);
  const reach = windowReach(kernel, dilation);
  const room = size + padBefore + padAfter;
  if (reach > room)
    throw new Error(
      `${op}: a window of ${reach} (kernel ${kernel}, dilation ${dilation}) does not fit into ${room} ` +
        `(extent ${size}, padding ${padBefore} + ${padAfter}); use a larger input, more padding or a smaller kernel`,
    );
  return Math.floor((room - reach) / stride) + 1;
}

/** Elements from the first to the last tap of a window, both included. */
export function windowReach(kernel: number, dilation: number): number {
  return dilation * (kernel - 1) + 1;
}

/** Throws unless `value` is an integer of at least `lowest`. */
export function checkSetting(op: string, what: string, value: number, lowest: number): void {
  if (!Number.isInteger(value) || value < lowest)
    throw new Error(`${op}: ${what} ${value} must be an integer >= ${lowest}`);
}

/** Throws unless `shape` is that of a batch of images. */
export function checkImages(op: string, shape: Shape): void {
  if (shape.length !== 4)
    throw new Error(
      `${op}: input ${formatShape(shape)} has ${shape.length} dimensions, not the 4 of [N, C, H, W]; ` +
        "bring it there with reshape() or unsqueeze()",
    );
}
