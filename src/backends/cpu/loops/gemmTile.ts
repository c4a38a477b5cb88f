/**
 * The inner loops of the matrix product: a 4 x 4 tile of C kept in registers.
 *
 * Measured on Node 20, one thread, a 48 x 192 x 240 product:
 * - Panels of doubles give 4.9 GFLOP/s, panels of floats with Math.fround 2.5, because V8 converts every operand to
 *   double and back. So packing widens to double, and sums are carried in double whatever the dtype.
 * - Panels and strip in one array: 5.4; V8 reloads length and base address of each array in every iteration.
 *   `| 0` on an index saves its overflow check (5.2 without).
 * - Tiles of 3 x 3, 3 x 4 and 4 x 3 run at 5.4 too, 2 x 4 at 4.9, 8 x 4 at 4.7 (accumulators spill); unrolling 4 x 4
 *   over the depth by 2 and 4 gives 4.9 and 4.4.
 * - Reading B through its table in the inner loop, without packing the strip, costs a fifth: 4.0 instead of 4.9.
 * - Setting C instead of clearing it first and adding: 1 x 1 convolution of 16 channels 2.9 -> 3.9.
 */
import type { TypedArray } from "../../dtype.ts";

/** Depth of a block: a strip and a panel of it take 8 KiB each, so that both fit the first-level cache. */
export const depthBlock = 256;

/** Elements at the start of the packed array that belong to the strip of B; the panels of A follow. */
export const stripLength = depthBlock * 4;

/** Four columns of a matrix: element (i, j) lies at `rows[i] + qj` of `data`; only the first `count` are wanted. */
export interface FourColumns {
  data: TypedArray;
  rows: Int32Array;
  q0: number;
  q1: number;
  q2: number;
  q3: number;
  count: number;
}

/** Packs four columns of B, rows k0 to k1 - 1, into the strip. (By two rows at a time: 4 % on a 3 x 3 convolution.) */
export function packStrip(packed: Float64Array, b: FourColumns, k0: number, k1: number): void {
  const { data, rows, q0, q1, q2, q3 } = b;
  let k = k0;
  let to = 0;
  for (; k + 2 <= k1; k = (k + 2) | 0) {
    const row = rows[k];
    const next = rows[(k + 1) | 0];
    packed[to] = data[(row + q0) | 0];
    packed[(to + 1) | 0] = data[(row + q1) | 0];
    packed[(to + 2) | 0] = data[(row + q2) | 0];
    packed[(to + 3) | 0] = data[(row + q3) | 0];
    packed[(to + 4) | 0] = data[(next + q0) | 0];
    packed[(to + 5) | 0] = data[(next + q1) | 0];
    packed[(to + 6) | 0] = data[(next + q2) | 0];
    packed[(to + 7) | 0] = data[(next + q3) | 0];
    to = (to + 8) | 0;
  }
  if (k < k1) {
    const row = rows[k];
    packed[to] = data[row + q0];
    packed[to + 1] = data[row + q1];
    packed[to + 2] = data[row + q2];
    packed[to + 3] = data[row + q3];
  }
}

/**
 * Multiplies the panels of rows m0 to m1 - 1, which start at `start`, with the strip. Adds the products to C, or,
 * with `initial`, sets C to `initial[row]` plus the products.
 */
export function multiplyStrip(
  packed: Float64Array,
  start: number,
  depth: number,
  m0: number,
  m1: number,
  c: FourColumns,
  initial: Float64Array | undefined,
): void {
  const { data, rows, q0, q1, q2, q3, count } = c;
  const end = depth * 4;
  let from = start;
  for (let m = m0; m < m1; m += 4) {
    let c00 = 0;
    let c01 = 0;
    let c02 = 0;
    let c03 = 0;
    let c10 = 0;
    let c11 = 0;
    let c12 = 0;
    let c13 = 0;
    let c20 = 0;
    let c21 = 0;
    let c22 = 0;
    let c23 = 0;
    let c30 = 0;
    let c31 = 0;
    let c32 = 0;
    let c33 = 0;
    for (let k = 0; k < end; k = (k + 4) | 0) {
      const b0 = packed[k];
      const b1 = packed[(k + 1) | 0];
      const b2 = packed[(k + 2) | 0];
      const b3 = packed[(k + 3) | 0];
      const a0 = packed[from];
      c00 += a0 * b0;
      c01 += a0 * b1;
      c02 += a0 * b2;
      c03 += a0 * b3;
      const a1 = packed[(from + 1) | 0];
      c10 += a1 * b0;
      c11 += a1 * b1;
      c12 += a1 * b2;
      c13 += a1 * b3;
      const a2 = packed[(from + 2) | 0];
      c20 += a2 * b0;
      c21 += a2 * b1;
      c22 += a2 * b2;
      c23 += a2 * b3;
      const a3 = packed[(from + 3) | 0];
      c30 += a3 * b0;
      c31 += a3 * b1;
      c32 += a3 * b2;
      c33 += a3 * b3;
      from = (from + 4) | 0;
    }
    if (m + 4 > m1 || count < 4) {
      storeMargin(c, m, Math.min(4, m1 - m), initial, [
        c00,
        c01,
        c02,
        c03,
        c10,
        c11,
        c12,
        c13,
        c20,
        c21,
        c22,
        c23,
        c30,
        c31,
        c32,
        c33,
      ]);
      continue;
    }
    const r0 = rows[m];
    const r1 = rows[m + 1];
    const r2 = rows[m + 2];
    const r3 = rows[m + 3];
    if (initial) {
      const v0 = initial[m];
      data[r0 + q0] = v0 + c00;
      data[r0 + q1] = v0 + c01;
      data[r0 + q2] = v0 + c02;
      data[r0 + q3] = v0 + c03;
      const v1 = initial[m + 1];
      data[r1 + q0] = v1 + c10;
      data[r1 + q1] = v1 + c11;
      data[r1 + q2] = v1 + c12;
      data[r1 + q3] = v1 + c13;
      const v2 = initial[m + 2];
      data[r2 + q0] = v2 + c20;
      data[r2 + q1] = v2 + c21;
      data[r2 + q2] = v2 + c22;
      data[r2 + q3] = v2 + c23;
      const v3 = initial[m + 3];
      data[r3 + q0] = v3 + c30;
      data[r3 + q1] = v3 + c31;
      data[r3 + q2] = v3 + c32;
      data[r3 + q3] = v3 + c33;
    } else {
      data[r0 + q0] += c00;
      data[r0 + q1] += c01;
      data[r0 + q2] += c02;
      data[r0 + q3] += c03;
      data[r1 + q0] += c10;
      data[r1 + q1] += c11;
      data[r1 + q2] += c12;
      data[r1 + q3] += c13;
      data[r2 + q0] += c20;
      data[r2 + q1] += c21;
      data[r2 + q2] += c22;
      data[r2 + q3] += c23;
      data[r3 + q0] += c30;
      data[r3 + q1] += c31;
      data[r3 + q2] += c32;
      data[r3 + q3] += c33;
    }
  }
}

/** The tile at the lower or right border of C, of which only some rows or columns exist. */
function storeMargin(
  { data, rows, q0, q1, q2, q3, count }: FourColumns,
  m: number,
  rowCount: number,
  initial: Float64Array | undefined,
  tile: readonly number[],
): void {
  const columns = [q0, q1, q2, q3];
  for (let i = 0; i < rowCount; i++) {
    for (let j = 0; j < count; j++) {
      const at = rows[m + i] + columns[j];
      data[at] = (initial ? initial[m + i] : data[at]) + tile[i * 4 + j];
    }
  }
}

/**
 * The same for a matrix A of one row, as in a depthwise convolution: B is read in place, since packing it would cost
 * as much as the product. A's elements lie at every fourth place from `start` on.
 */
export function multiplyRow(
  packed: Float64Array,
  start: number,
  b: FourColumns,
  k0: number,
  k1: number,
  c: FourColumns,
  initial: Float64Array | undefined,
): void {
  const { data, rows, q0, q1, q2, q3 } = b;
  let c0 = 0;
  let c1 = 0;
  let c2 = 0;
  let c3 = 0;
  for (let k = k0, from = start; k < k1; k++) {
    const row = rows[k];
    const a = packed[from];
    c0 += a * data[(row + q0) | 0];
    c1 += a * data[(row + q1) | 0];
    c2 += a * data[(row + q2) | 0];
    c3 += a * data[(row + q3) | 0];
    from = (from + 4) | 0;
  }
  storeMargin(c, 0, 1, initial, [c0, c1, c2, c3]);
}
