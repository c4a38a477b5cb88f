/** The kernel that joins tensors along an axis. */
import type { HostView } from "../../backend.ts";
import { copy } from "./copy.ts";

export interface ConcatAttributes {
  readonly axis: number;
}

/** n inputs whose shapes differ in `axis` only -> output, whose extent there is the sum of theirs. */
export function concat(inputs: readonly HostView[], output: HostView, { axis }: ConcatAttributes): void {
  let start = 0;
  for (const input of inputs) {
    const { data, dtype, strides } = output;
    const slice = { data, dtype, strides, shape: input.shape, offset: output.offset + start * strides[axis] };
    copy([input], slice, {});
    start += input.shape[axis];
  }
}
