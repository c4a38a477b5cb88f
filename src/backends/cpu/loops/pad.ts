/** The kernel that puts a margin around a tensor. */
import type { HostView } from "../../backend.ts";
import { copy } from "./copy.ts";

export interface PadAttributes {
  /** Elements added before and after, by axis; not negative. */
  readonly padding: readonly (readonly [before: number, after: number])[];
  readonly value: number;
}

/** Fills the output with the value, then copies the input into the middle: two passes, both memory-bound. */
export function pad([x]: readonly HostView[], output: HostView, { padding, value }: PadAttributes): void {
  const { data, dtype, shape, strides } = output;
  const constant: HostView = {
    dtype,
    data: data.slice(0, 1).fill(value),
    shape,
    strides: shape.map(() => 0),
    offset: 0,
  };
  copy([constant], output, {});
  const offset = padding.reduce(
    (position, [before], axis) => position + before * strides[axis],
    output.offset,
  );
  copy([x], { data, dtype, strides, shape: x.shape, offset }, {});
}
