/**
 * Max pooling, its gradient, and the gradient's gradient.
 *
 * The winner of a window is its first largest element in row-major order, or its last NaN if it has one (as in PyTorch). It is found
 * again where it is needed: reading the windows once more is cheaper than keeping an index tensor alive until the
 * backward pass. The margin counts as minus infinity and never wins.
 */
import type { HostView } from "../../backend.ts";
import type { TypedArray } from "../../dtype.ts";
import {
  type AxisWindows,
  clearPlanes,
  forEachPlane,
  type Pool2dAttributes,
  poolWindows,
} from "./poolWindows.ts";
import { createWorkspace } from "./workspace.ts";

const rowWorkspace = createWorkspace((length) => new Int32Array(length));
const columnWorkspace = createWorkspace((length) => new Int32Array(length));

/** Writes the row and column of the winner of each of the P x Q windows of one plane; row -1 if a window is empty. */
function findWinners(
  x: TypedArray,
  plane: number,
  rowStride: number,
  columnStride: number,
  rows: AxisWindows,
  columns: AxisWindows,
  dilation: readonly [number, number],
  winnerRows: Int32Array,
  winnerColumns: Int32Array,
): void {
  const P = rows.first.length;
  const Q = columns.first.length;
  const [rowDilation, columnDilation] = dilation;
  const rowStep = rowDilation * rowStride;
  const columnStep = columnDilation * columnStride;
  for (let p = 0, window = 0; p < P; p++) {
    const firstRow = rows.first[p];
    const rowCount = rows.count[p];
    const rowStart = plane + firstRow * rowStride;
    for (let q = 0; q < Q; q++, window++) {
      const firstColumn = columns.first[q];
      const columnCount = columns.count[q];
      const start = rowStart + firstColumn * columnStride;
      let bestRow = 0;
      let bestColumn = 0;
      const below = start + rowStep;
      if (
        rowCount === 2 &&
        columnCount === 2 &&
        // A NaN takes the other way. (Opposite infinities do too, needlessly.)
        !Number.isNaN(x[start] + x[start + columnStep] + x[below] + x[below + columnStep])
      ) {
        // The commonest window, without branches, half of which would be mispredicted: 4 ns per input element, not 7.
        const upper = Number(x[start + columnStep] > x[start]);
        const lower = Number(x[below + columnStep] > x[below]);
        bestRow = Number(x[below + lower * columnStep] > x[start + upper * columnStep]);
        bestColumn = upper + bestRow * (lower - upper);
      } else {
        let best = Number.NEGATIVE_INFINITY;
        for (let r = 0, row = start; r < rowCount; r++, row += rowStep) {
          for (let s = 0, at = row; s < columnCount; s++, at += columnStep) {
            const value = x[at];
            if (value > best || Number.isNaN(value)) {
              best = value;
              bestRow = r;
              bestColumn = s;
            }
          }
        }
      }
      const empty = rowCount === 0 || columnCount === 0;
      winnerRows[window] = empty ? -1 : firstRow + bestRow * rowDilation;
      winnerColumns[window] = firstColumn + bestColumn * columnDilation;
    }
  }
}

/**
 * Calls `visit` for each [N, C] plane with the offsets of the planes of `x` and of the other views, after the
 * winners of x's windows have been written to the two tables, in row-major order of [P, Q].
 */
function forEachPlaneOfWinners(
  x: HostView,
  others: readonly HostView[],
  outputShape: readonly number[],
  attributes: Pool2dAttributes,
  visit: (offsets: readonly number[], winnerRows: Int32Array, winnerColumns: Int32Array) => void,
): void {
  const [, , P, Q] = outputShape;
  const { rows, columns } = poolWindows(x.shape, outputShape, attributes);
  const winnerRows = rowWorkspace(P * Q);
  const winnerColumns = columnWorkspace(P * Q);
  const { data, strides } = x;
  forEachPlane([x, ...others], (offsets) => {
    const [plane] = offsets;
    findWinners(
      data,
      plane,
      strides[2],
      strides[3],
      rows,
      columns,
      attributes.dilation,
      winnerRows,
      winnerColumns,
    );
    visit(offsets, winnerRows, winnerColumns);
  });
}

/** Writes v, [H, W] from `from` on, at the winners to [P, Q] from `to` on; `empty` where a window has no winner. */
function gather(
  v: HostView,
  from: number,
  output: HostView,
  to: number,
  winnerRows: Int32Array,
  winnerColumns: Int32Array,
  empty: number,
): void {
  const source = v.data;
  const target = output.data;
  const [, , P, Q] = output.shape;
  const [, , rowStride, columnStride] = v.strides;
  const [, , outputRowStride, outputColumnStride] = output.strides;
  for (let p = 0, window = 0; p < P; p++) {
    for (let q = 0, at = to + p * outputRowStride; q < Q; q++, window++, at += outputColumnStride) {
      const row = winnerRows[window];
      target[at] = row < 0 ? empty : source[from + row * rowStride + winnerColumns[window] * columnStride];
    }
  }
}

/** x [N, C, H, W] -> [N, C, P, Q]: the largest element of each window, minus infinity for a window of margin only. */
export function maxPool2d([x]: readonly HostView[], output: HostView, attributes: Pool2dAttributes): void {
  forEachPlaneOfWinners(x, [output], output.shape, attributes, ([from, to], winnerRows, winnerColumns) => {
    gather(x, from, output, to, winnerRows, winnerColumns, Number.NEGATIVE_INFINITY);
  });
}

/** x and v [N, C, H, W] -> [N, C, P, Q]: v at the place of each window's winner in x, 0 where there is none. */
export function maxPool2dPick(
  [x, v]: readonly HostView[],
  output: HostView,
  attributes: Pool2dAttributes,
): void {
  forEachPlaneOfWinners(
    x,
    [v, output],
    output.shape,
    attributes,
    ([, from, to], winnerRows, winnerColumns) => {
      gather(v, from, output, to, winnerRows, winnerColumns, 0);
    },
  );
}

/** x [N, C, H, W], grad [N, C, P, Q] -> [N, C, H, W]: each grad added where its window's winner lies. */
export function maxPool2dInputGradient(
  [x, grad]: readonly HostView[],
  output: HostView,
  attributes: Pool2dAttributes,
): void {
  clearPlanes(output);
  forEachPlaneOfWinners(
    x,
    [grad, output],
    grad.shape,
    attributes,
    ([, from, to], winnerRows, winnerColumns) => {
      scatterAdd(grad, from, output, to, winnerRows, winnerColumns);
    },
  );
}

/** Adds [P, Q] of `grad` from `from` on to the winners in `output`, [H, W] from `to` on. */
function scatterAdd(
  grad: HostView,
  from: number,
  output: HostView,
  to: number,
  winnerRows: Int32Array,
  winnerColumns: Int32Array,
): void {
  const source = grad.data;
  const target = output.data;
  const [, , P, Q] = grad.shape;
  const [, , gradRowStride, gradColumnStride] = grad.strides;
  const [, , rowStride, columnStride] = output.strides;
  for (let p = 0, window = 0; p < P; p++) {
    for (let q = 0, at = from + p * gradRowStride; q < Q; q++, window++, at += gradColumnStride) {
      const row = winnerRows[window];
      if (row >= 0) target[to + row * rowStride + winnerColumns[window] * columnStride] += source[at];
    }
  }
}
