/** How reference loops add into elements in any order: in f64 whatever the dtype, with one rounding at the end. */
import type { HostView } from "../../backends/backend.ts";
import { contiguousStrides, sizeOf } from "../../tensor/layout.ts";
import { dot, forEachIndex } from "./indexing.ts";

/**
 * Writes to every element of `output` the sum of what `fill` adds to it by its index: 0 where it adds nothing.
 */
export function accumulate(
  output: HostView,
  fill: (add: (index: readonly number[], value: number) => void) => void,
): void {
  const sums = new Float64Array(sizeOf(output.shape));
  const strides = contiguousStrides(output.shape);
  fill((index, value) => {
    sums[dot(index, strides)] += value;
  });
  forEachIndex(output.shape, (index) => {
    output.data[output.offset + dot(index, output.strides)] = sums[dot(index, strides)];
  });
}
