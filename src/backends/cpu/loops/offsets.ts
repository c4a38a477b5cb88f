/**
 * Tables of element offsets.
 *
 * Every kernel built on the matrix product addresses its operands through such tables, so a strided view, a window
 * that slides with stride and dilation, and a plain matrix are one and the same case, and none of them is copied.
 */

/**
 * Writes the offsets of all indices of `shape`, in row-major order, into `table` and returns their number:
 * entry (i, j, ...) is `base + i * strides[0] + j * strides[1] + ...`.
 */
export function fillOffsets(
  table: Int32Array,
  base: number,
  shape: readonly number[],
  strides: readonly number[],
): number {
  let count = 1;
  table[0] = base;
  // From the innermost axis outwards: each axis repeats what is there, shifted by its stride.
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const extent = shape[axis];
    if (extent === 0) return 0;
    const stride = strides[axis];
    for (let i = 1, to = count; i < extent; i++) {
      const shift = i * stride;
      for (let from = 0; from < count; from++, to++) table[to] = table[from] + shift;
    }
    count *= extent;
  }
  return count;
}
