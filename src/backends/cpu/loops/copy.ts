/** Copying between any two layouts of the same shape. */
import type { HostView, Layout } from "../../backend.ts";
import type { TypedArray } from "../../dtype.ts";
import { collapseAxes } from "../collapse.ts";

export type CopyAttributes = Readonly<Record<string, never>>;

/** Below this length a loop beats TypedArray.set, which has to create a view first (measured: about 100 ns). */
const shortestBulkRun = 96;

/** The same elements with the axes ordered so that `target` is written forwards, its longest strides outermost. */
function reorder<T extends Layout>(view: T, order: readonly number[]): T {
  return {
    ...view,
    shape: order.map((axis) => view.shape[axis]),
    strides: order.map((axis) => view.strides[axis]),
  };
}

/** input, any strides -> output of the same shape, any strides. */
export function copy([input]: readonly HostView[], output: HostView, _attributes: CopyAttributes): void {
  if (output.shape.includes(0)) return;
  const order = output.shape.map((_, axis) => axis).sort((a, b) => output.strides[b] - output.strides[a]);
  const { shape, strides } = collapseAxes([reorder(input, order), reorder(output, order)]);
  const [from, to] = strides;
  const rank = shape.length;
  const columns = rank > 0 ? shape[rank - 1] : 1;
  const rows = rank > 1 ? shape[rank - 2] : 1;
  const outer = shape.slice(0, Math.max(0, rank - 2));
  const index = outer.map(() => 0);
  let fromStart = input.offset;
  let toStart = output.offset;
  for (;;) {
    copyRows(
      input.data,
      fromStart,
      rank > 1 ? from[rank - 2] : 0,
      rank > 0 ? from[rank - 1] : 1,
      output.data,
      toStart,
      rank > 1 ? to[rank - 2] : 0,
      rank > 0 ? to[rank - 1] : 1,
      rows,
      columns,
    );
    let axis = outer.length - 1;
    for (; axis >= 0; axis--) {
      fromStart += from[axis];
      toStart += to[axis];
      index[axis] += 1;
      if (index[axis] < outer[axis]) break;
      fromStart -= from[axis] * outer[axis];
      toStart -= to[axis] * outer[axis];
      index[axis] = 0;
    }
    if (axis < 0) return;
  }
}

function copyRows(
  from: TypedArray,
  fromStart: number,
  fromRow: number,
  fromColumn: number,
  to: TypedArray,
  toStart: number,
  toRow: number,
  toColumn: number,
  rows: number,
  columns: number,
): void {
  const bulk = fromColumn === 1 && toColumn === 1 && columns >= shortestBulkRun;
  for (let r = 0; r < rows; r++) {
    const a = fromStart + r * fromRow;
    const b = toStart + r * toRow;
    if (bulk) to.set(from.subarray(a, a + columns), b);
    else copyRow(from, a, fromColumn, to, b, toColumn, columns);
  }
}

function copyRow(
  from: TypedArray,
  fromStart: number,
  fromStride: number,
  to: TypedArray,
  toStart: number,
  toStride: number,
  count: number,
): void {
  for (let i = 0, a = fromStart, b = toStart; i < count; i++, a += fromStride, b += toStride) to[b] = from[a];
}
