/**
 * The matrix product behind matmul and all convolutions: C[M, N] = A[M, K] * B[K, N] in plain JavaScript.
 *
 * Operands are addressed through offset tables. A is packed once into panels of four rows, B four columns at a time
 * into a strip that stays in the first-level cache; gemmTile.ts multiplies them.
 */
import type { TypedArray } from "../../dtype.ts";
import {
  depthBlock,
  type FourColumns,
  multiplyRow,
  multiplyStrip,
  packStrip,
  stripLength,
} from "./gemmTile.ts";
import { fillOffsets } from "./offsets.ts";
import { createWorkspace } from "./workspace.ts";

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

function fourColumns({ data, rows }: TableMatrix): FourColumns {
  return { data, rows, q0: 0, q1: 0, q2: 0, q3: 0, count: 4 };
}

/** Moves to columns n to n + 3 of N; beyond the last one they repeat it. */
function moveTo(to: FourColumns, { offset, columns }: TableMatrix, n: number, N: number): void {
  const last = N - 1;
  to.q0 = offset + columns[n];
  to.q1 = offset + columns[Math.min(n + 1, last)];
  to.q2 = offset + columns[Math.min(n + 2, last)];
  to.q3 = offset + columns[Math.min(n + 3, last)];
  to.count = Math.min(4, N - n);
}

/**
 * C[M, N] = initial[M] + A[M, K] * B[K, N], or C += A * B without `initial`; A as packed by `packPanels` from `start`
 * on. C must not overlap B, and K must not be 0.
 * Sums over blocks of 256 terms are exact to double rounding and are added to C in C's own dtype.
 */
export function multiply(
  panels: Float64Array,
  start: number,
  b: TableMatrix,
  c: TableMatrix,
  M: number,
  N: number,
  K: number,
  initial?: Float64Array,
): void {
  const paddedRows = panelLength(M, 1);
  const from = fourColumns(b);
  const to = fourColumns(c);
  for (let k0 = 0; k0 < K; k0 += depthBlock) {
    const k1 = Math.min(K, k0 + depthBlock);
    const depth = k1 - k0;
    const set = k0 === 0 ? initial : undefined;
    for (let m0 = 0; m0 < M; m0 += rowBlock) {
      const m1 = Math.min(M, m0 + rowBlock);
      const panelStart = start + k0 * paddedRows + m0 * depth;
      for (let n = 0; n < N; n += 4) {
        moveTo(from, b, n, N);
        moveTo(to, c, n, N);
        if (M === 1) {
          multiplyRow(panels, panelStart, from, k0, k1, to, set);
        } else {
          packStrip(panels, from, k0, k1);
          multiplyStrip(panels, panelStart, depth, m0, m1, to, set);
        }
      }
    }
  }
}

const panelWorkspace = createWorkspace((length) => new Float64Array(length));
const zeroWorkspace = createWorkspace((length) => new Float64Array(length));

/** At least `length` zeros, to start sums from; not to be written. */
export function zeros(length: number): Float64Array {
  return zeroWorkspace(length);
}

const tableWorkspaces = Array.from({ length: 6 }, () => createWorkspace((length) => new Int32Array(length)));

function tabulate(matrix: StridedMatrix, rowCount: number, columnCount: number, slot: number): TableMatrix {
  const rows = tableWorkspaces[slot](rowCount);
  const columns = tableWorkspaces[slot + 1](columnCount);
  fillOffsets(rows, 0, [rowCount], [matrix.rowStride]);
  fillOffsets(columns, 0, [columnCount], [matrix.columnStride]);
  return { data: matrix.data, offset: matrix.offset, rows, columns };
}

/**
 * C[M, N] = A[M, K] * B[K, N] for matrices with any strides, or C += A * B with `accumulate`.
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
  if (M === 0 || N === 0) return;
  if (K === 0) {
    if (accumulate) return;
    for (let i = 0; i < M; i++) {
      for (let j = 0; j < N; j++) c.data[c.offset + i * c.rowStride + j * c.columnStride] = 0;
    }
    return;
  }
  const panels = panelWorkspace(stripLength + panelLength(M, K));
  packPanels(panels, stripLength, tabulate(a, M, K, 0), M, K);
  const initial = accumulate ? undefined : zeros(M);
  multiply(panels, stripLength, tabulate(b, K, N, 2), tabulate(c, M, N, 4), M, N, K, initial);
}
