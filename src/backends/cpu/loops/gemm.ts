/**
 * The matrix product behind matmul and all convolutions: C[M, N] += A[M, K] * B[K, N] in plain JavaScript.
 *
 * Operands are addressed through offset tables. A is packed once into panels of four rows, B four columns at a time
 * into a strip that stays in the first-level cache, and a 4 x 4 tile of C is accumulated in registers.
 *
 * Measured on Node 20, one thread (two mul + add per cycle would be the limit of scalar code): panels of doubles give
 * 4.8 GFLOP/s in the inner loop, panels of floats with Math.fround 2.5, because V8 converts every operand to double
 * and back. So packing widens to double, and sums are carried in double whatever the dtype. Tiles of 2 x 2, 4 x 8,
 * 6 x 4 and 8 x 4 and unrolling over K were all slower than 4 x 4 (2.8, 4.7, 4.8, 4.7; unrolled by 4: 4.0).
 */
import type { TypedArray } from "../../dtype.ts";
import { fillOffsets } from "./offsets.ts";
import { createWorkspace } from "./workspace.ts";

/** Depth of a block: a strip and a panel of it take 8 KiB each, so that both fit the first-level cache. */
const depthBlock = 256;
/** Rows of a block: its panels take 256 KiB, which fits the second-level cache. */
const rowBlock = 128;

/** A matrix in memory: element (i, j) lies at `offset + rows[i] + columns[j]`. */
export interface TableMatrix {
  readonly data: TypedArray;
  readonly offset: number;
  readonly rows: Int32Array;
  readonly columns: Int32Array;
}

/** A matrix in memory: element (i, j) lies at `offset + i * rowStride + j * columnStride`. */
export interface StridedMatrix {
  readonly data: TypedArray;
  readonly offset: number;
  readonly rowStride: number;
  readonly columnStride: number;
}

/** Elements that `packPanels` writes for A[M, K]. */
export function panelLength(M: number, K: number): number {
  return Math.ceil(M / 4) * 4 * K;
}

/**
 * Packs A[M, K] into `panels` from `start` on: blocks of `depthBlock` columns, in each of them panels of four rows,
 * in each of them the four values of a column side by side. Missing rows of the last panel become zeros.
 */
export function packPanels(panels: Float64Array, start: number, a: TableMatrix, M: number, K: number): void {
  const { data, offset, rows, columns } = a;
  let to = start;
  for (let k0 = 0; k0 < K; k0 += depthBlock) {
    const k1 = Math.min(K, k0 + depthBlock);
    for (let m = 0; m < M; m += 4) {
      const r0 = offset + rows[m];
      if (m + 4 <= M) {
        const r1 = offset + rows[m + 1];
        const r2 = offset + rows[m + 2];
        const r3 = offset + rows[m + 3];
        for (let k = k0; k < k1; k++, to += 4) {
          const column = columns[k];
          panels[to] = data[r0 + column];
          panels[to + 1] = data[r1 + column];
          panels[to + 2] = data[r2 + column];
          panels[to + 3] = data[r3 + column];
        }
      } else {
        for (let k = k0; k < k1; k++) {
          for (let i = 0; i < 4; i++) {
            panels[to++] = m + i < M ? data[offset + rows[m + i] + columns[k]] : 0;
          }
        }
      }
    }
  }
}

const strip = new Float64Array(depthBlock * 4);
const tile = new Float64Array(16);

/** Packs four columns of B, rows k0 to k1 - 1, into `strip`. */
function packStrip(
  data: TypedArray,
  rows: Int32Array,
  k0: number,
  k1: number,
  q0: number,
  q1: number,
  q2: number,
  q3: number,
): void {
  for (let k = k0, to = 0; k < k1; k++, to += 4) {
    const row = rows[k];
    strip[to] = data[row + q0];
    strip[to + 1] = data[row + q1];
    strip[to + 2] = data[row + q2];
    strip[to + 3] = data[row + q3];
  }
}

/** Multiplies the panels of rows m0 to m1 - 1 with `strip` and adds the products to columns q0 to q3 of C. */
function multiplyStrip(
  panels: Float64Array,
  start: number,
  depth: number,
  m0: number,
  m1: number,
  c: TypedArray,
  rows: Int32Array,
  q0: number,
  q1: number,
  q2: number,
  q3: number,
  columnCount: number,
): void {
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
    for (let k = 0; k < end; k += 4) {
      const b0 = strip[k];
      const b1 = strip[k + 1];
      const b2 = strip[k + 2];
      const b3 = strip[k + 3];
      const a0 = panels[from + k];
      c00 += a0 * b0;
      c01 += a0 * b1;
      c02 += a0 * b2;
      c03 += a0 * b3;
      const a1 = panels[from + k + 1];
      c10 += a1 * b0;
      c11 += a1 * b1;
      c12 += a1 * b2;
      c13 += a1 * b3;
      const a2 = panels[from + k + 2];
      c20 += a2 * b0;
      c21 += a2 * b1;
      c22 += a2 * b2;
      c23 += a2 * b3;
      const a3 = panels[from + k + 3];
      c30 += a3 * b0;
      c31 += a3 * b1;
      c32 += a3 * b2;
      c33 += a3 * b3;
    }
    from += end;
    if (m + 4 <= m1 && columnCount === 4) {
      const r0 = rows[m];
      c[r0 + q0] += c00;
      c[r0 + q1] += c01;
      c[r0 + q2] += c02;
      c[r0 + q3] += c03;
      const r1 = rows[m + 1];
      c[r1 + q0] += c10;
      c[r1 + q1] += c11;
      c[r1 + q2] += c12;
      c[r1 + q3] += c13;
      const r2 = rows[m + 2];
      c[r2 + q0] += c20;
      c[r2 + q1] += c21;
      c[r2 + q2] += c22;
      c[r2 + q3] += c23;
      const r3 = rows[m + 3];
      c[r3 + q0] += c30;
      c[r3 + q1] += c31;
      c[r3 + q2] += c32;
      c[r3 + q3] += c33;
    } else {
      tile[0] = c00;
      tile[1] = c01;
      tile[2] = c02;
      tile[3] = c03;
      tile[4] = c10;
      tile[5] = c11;
      tile[6] = c12;
      tile[7] = c13;
      tile[8] = c20;
      tile[9] = c21;
      tile[10] = c22;
      tile[11] = c23;
      tile[12] = c30;
      tile[13] = c31;
      tile[14] = c32;
      tile[15] = c33;
      const rowCount = Math.min(4, m1 - m);
      for (let i = 0; i < rowCount; i++) {
        const row = rows[m + i];
        c[row + q0] += tile[i * 4];
        if (columnCount > 1) c[row + q1] += tile[i * 4 + 1];
        if (columnCount > 2) c[row + q2] += tile[i * 4 + 2];
        if (columnCount > 3) c[row + q3] += tile[i * 4 + 3];
      }
    }
  }
}

/**
 * C[M, N] += A[M, K] * B[K, N], A as packed by `packPanels` from `start` on. C must not overlap B.
 * Sums over blocks of 256 terms are exact to double rounding and are added to C in C's own dtype.
 */
export function multiplyAdd(
  panels: Float64Array,
  start: number,
  b: TableMatrix,
  c: TableMatrix,
  M: number,
  N: number,
  K: number,
): void {
  const paddedRows = panelLength(M, 1);
  const lastColumn = N - 1;
  for (let k0 = 0; k0 < K; k0 += depthBlock) {
    const k1 = Math.min(K, k0 + depthBlock);
    const depth = k1 - k0;
    for (let m0 = 0; m0 < M; m0 += rowBlock) {
      const m1 = Math.min(M, m0 + rowBlock);
      const panelStart = start + k0 * paddedRows + m0 * depth;
      for (let n = 0; n < N; n += 4) {
        const n1 = Math.min(n + 1, lastColumn);
        const n2 = Math.min(n + 2, lastColumn);
        const n3 = Math.min(n + 3, lastColumn);
        packStrip(
          b.data,
          b.rows,
          k0,
          k1,
          b.offset + b.columns[n],
          b.offset + b.columns[n1],
          b.offset + b.columns[n2],
          b.offset + b.columns[n3],
        );
        multiplyStrip(
          panels,
          panelStart,
          depth,
          m0,
          m1,
          c.data,
          c.rows,
          c.offset + c.columns[n],
          c.offset + c.columns[n1],
          c.offset + c.columns[n2],
          c.offset + c.columns[n3],
          Math.min(4, N - n),
        );
      }
    }
  }
}

const panelWorkspace = createWorkspace((length) => new Float64Array(length));
const tableWorkspaces = Array.from({ length: 6 }, () => createWorkspace((length) => new Int32Array(length)));

function tabulate(matrix: StridedMatrix, rowCount: number, columnCount: number, slot: number): TableMatrix {
  const rows = tableWorkspaces[slot](rowCount);
  const columns = tableWorkspaces[slot + 1](columnCount);
  fillOffsets(rows, 0, [rowCount], [matrix.rowStride]);
  fillOffsets(columns, 0, [columnCount], [matrix.columnStride]);
  return { data: matrix.data, offset: matrix.offset, rows, columns };
}

/**
 * C[M, N] += A[M, K] * B[K, N] for matrices with any strides, `accumulate` false clearing C first.
 * C must not overlap A or B, and its own elements must not overlap.
 */
export function gemm(
  M: number,
  N: number,
  K: number,
  a: StridedMatrix,
  b: StridedMatrix,
  c: StridedMatrix,
  accumulate: boolean,
): void {
  if (!accumulate) {
    for (let i = 0; i < M; i++) {
      const row = c.offset + i * c.rowStride;
      for (let j = 0; j < N; j++) c.data[row + j * c.columnStride] = 0;
    }
  }
  if (M === 0 || N === 0 || K === 0) return;
  const panels = panelWorkspace(panelLength(M, K));
  packPanels(panels, 0, tabulate(a, M, K, 0), M, K);
  multiplyAdd(panels, 0, tabulate(b, K, N, 2), tabulate(c, M, N, 4), M, N, K);
}
