/** Average pooling and its gradient. */
import type { HostView } from "../../backend.ts";
import {
  type AxisWindows,
  clearPlanes,
  forEachPlane,
  type Pool2dAttributes,
  poolWindows,
} from "./poolWindows.ts";

export interface AvgPool2dAttributes extends Pool2dAttributes {
  /** Whether taps on the margin count as zeros (divide by the kernel's size) or not at all. */
  readonly countIncludePad: boolean;
}

/**
 * What the sum over a window of `taps` taps inside the input is multiplied with, by `taps`. A window of margin only
 * has mean 0. The table saves a division per window.
 */
function meanWeights({ kernelSize, countIncludePad }: AvgPool2dAttributes): Float64Array {
  const size = kernelSize[0] * kernelSize[1];
  return Float64Array.from(
    { length: size + 1 },
    (_, taps) => 1 / (countIncludePad ? size : Math.max(1, taps)),
  );
}

/** x [N, C, H, W] -> [N, C, P, Q]: the mean of each window. */
export function avgPool2d([x]: readonly HostView[], output: HostView, attributes: AvgPool2dAttributes): void {
  const { rows, columns } = poolWindows(x.shape, output.shape, attributes);
  const weights = meanWeights(attributes);
  forEachPlane([x, output], ([from, to]) =>
    averagePlane(x, from, output, to, rows, columns, attributes.dilation, weights),
  );
}

function averagePlane(
  x: HostView,
  from: number,
  output: HostView,
  to: number,
  rows: AxisWindows,
  columns: AxisWindows,
  dilation: readonly [number, number],
  weights: Float64Array,
): void {
  const source = x.data;
  const target = output.data;
  const [, , P, Q] = output.shape;
  const [, , rowStride, columnStride] = x.strides;
  const rowStep = dilation[0] * rowStride;
  const columnStep = dilation[1] * columnStride;
  for (let p = 0; p < P; p++) {
    const start = from + rows.first[p] * rowStride;
    const rowCount = rows.count[p];
    for (let q = 0, at = to + p * output.strides[2]; q < Q; q++, at += output.strides[3]) {
      const columnCount = columns.count[q];
      let sum = 0;
      for (let r = 0, row = start + columns.first[q] * columnStride; r < rowCount; r++, row += rowStep) {
        for (let s = 0, tap = row; s < columnCount; s++, tap += columnStep) sum += source[tap];
      }
      target[at] = sum * weights[rowCount * columnCount];
    }
  }
}

/** grad [N, C, P, Q] -> [N, C, H, W]: each grad spread evenly over its window. */
export function avgPool2dInputGradient(
  [grad]: readonly HostView[],
  output: HostView,
  attributes: AvgPool2dAttributes,
): void {
  const { rows, columns } = poolWindows(output.shape, grad.shape, attributes);
  const weights = meanWeights(attributes);
  clearPlanes(output);
  forEachPlane([grad, output], ([from, to]) =>
    spreadPlane(grad, from, output, to, rows, columns, attributes.dilation, weights),
  );
}

function spreadPlane(
  grad: HostView,
  from: number,
  output: HostView,
  to: number,
  rows: AxisWindows,
  columns: AxisWindows,
  dilation: readonly [number, number],
  weights: Float64Array,
): void {
  const source = grad.data;
  const target = output.data;
  const [, , P, Q] = grad.shape;
  const [, , rowStride, columnStride] = output.strides;
  const rowStep = dilation[0] * rowStride;
  const columnStep = dilation[1] * columnStride;
  for (let p = 0; p < P; p++) {
    const start = to + rows.first[p] * rowStride;
    const rowCount = rows.count[p];
    for (let q = 0, at = from + p * grad.strides[2]; q < Q; q++, at += grad.strides[3]) {
      const columnCount = columns.count[q];
      const share = source[at] * weights[rowCount * columnCount];
      for (let r = 0, row = start + columns.first[q] * columnStride; r < rowCount; r++, row += rowStep) {
        for (let s = 0, tap = row; s < columnCount; s++, tap += columnStep) target[tap] += share;
      }
    }
  }
}
