/** Sums over axes. */
import type { HostView } from "../../backend.ts";
import type { TypedArray } from "../../dtype.ts";
import { collapseAxes } from "../collapse.ts";
import { createWorkspace } from "./workspace.ts";

export interface SumAttributes {
  /** Axes to sum over, each from 0 to rank - 1. */
  readonly axes: readonly number[];
}

const rowWorkspace = createWorkspace((length) => new Float64Array(length));

interface Axis {
  readonly extent: number;
  readonly inputStride: number;
  /** 0 for an axis that is summed over. */
  readonly outputStride: number;
}

/** Calls `visit` with the input and output offset of every index of `axes`. */
function forEachIndex(
  axes: readonly Axis[],
  input: number,
  output: number,
  visit: (input: number, output: number) => void,
  from = 0,
): void {
  if (from === axes.length) {
    visit(input, output);
    return;
  }
  const { extent, inputStride, outputStride } = axes[from];
  for (let i = 0; i < extent; i++) {
    forEachIndex(axes, input + i * inputStride, output + i * outputStride, visit, from + 1);
  }
}

/**
 * x of any strides -> the same shape with extent 1 in the summed axes; an empty sum is 0. Sums are carried in double
 * precision. Axes are visited in the order of the input's memory, whatever their order in the shape.
 */
export function sum([x]: readonly HostView[], output: HostView, { axes }: SumAttributes): void {
  const outputStrides = output.strides.map((stride, axis) => (axes.includes(axis) ? 0 : stride));
  if (output.shape.includes(0)) return;
  if (x.shape.includes(0)) {
    const kept = output.shape.map((extent, axis) => ({
      extent,
      inputStride: 0,
      outputStride: outputStrides[axis],
    }));
    forEachIndex(kept, 0, output.offset, (_, to) => {
      output.data[to] = 0;
    });
    return;
  }
  const order = x.shape.map((_, axis) => axis).sort((a, b) => x.strides[b] - x.strides[a]);
  const shape = order.map((axis) => x.shape[axis]);
  const collapsed = collapseAxes([
    { shape, strides: order.map((axis) => x.strides[axis]), offset: 0 },
    { shape, strides: order.map((axis) => outputStrides[axis]), offset: 0 },
  ]);
  const loops = collapsed.shape.map((extent, axis) => ({
    extent,
    inputStride: collapsed.strides[0][axis],
    outputStride: collapsed.strides[1][axis],
  }));
  const kept = loops.filter(({ outputStride }) => outputStride !== 0);
  const summed = loops.filter(({ outputStride }) => outputStride === 0);
  const innermost = loops.at(-1);
  if (innermost && innermost.outputStride !== 0) sumRows(x, output, kept, summed);
  else sumElements(x, output, kept, summed);
}

/** The input's densest axis is summed over: each result is a sum of long runs. */
function sumElements(x: HostView, output: HostView, kept: readonly Axis[], summed: readonly Axis[]): void {
  const one = { extent: 1, inputStride: 0, outputStride: 0 };
  const columns = summed.at(-1) ?? one;
  const rows = summed.at(-2) ?? one;
  const outer = summed.slice(0, Math.max(0, summed.length - 2));
  forEachIndex(kept, x.offset, output.offset, (from, to) => {
    let total = 0;
    forEachIndex(outer, from, 0, (start) => {
      total += sumPlane(x.data, start, rows.extent, rows.inputStride, columns.extent, columns.inputStride);
    });
    output.data[to] = total;
  });
}

function sumPlane(
  data: TypedArray,
  start: number,
  rows: number,
  rowStride: number,
  columns: number,
  columnStride: number,
): number {
  // Four independent sums hide the latency of an addition.
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  for (let r = 0; r < rows; r++) {
    let at = start + r * rowStride;
    let i = 0;
    for (; i + 4 <= columns; i += 4, at += 4 * columnStride) {
      s0 += data[at];
      s1 += data[at + columnStride];
      s2 += data[at + 2 * columnStride];
      s3 += data[at + 3 * columnStride];
    }
    for (; i < columns; i++, at += columnStride) s0 += data[at];
  }
  return s0 + s1 + (s2 + s3);
}

/** The input's densest axis is kept: whole rows are added up, so that memory is read in order. */
function sumRows(x: HostView, output: HostView, kept: readonly Axis[], summed: readonly Axis[]): void {
  const { extent, inputStride, outputStride } = kept[kept.length - 1];
  const sums = rowWorkspace(extent);
  forEachIndex(kept.slice(0, -1), x.offset, output.offset, (from, to) => {
    sums.fill(0, 0, extent);
    forEachIndex(summed, from, 0, (start) => addRow(x.data, start, inputStride, sums, extent));
    for (let i = 0; i < extent; i++) output.data[to + i * outputStride] = sums[i];
  });
}

function addRow(data: TypedArray, start: number, stride: number, sums: Float64Array, count: number): void {
  for (let i = 0, at = start; i < count; i++, at += stride) sums[i] += data[at];
}
