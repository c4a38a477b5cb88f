/**
 * Matrix products by the kernels of convolutions: a [..., M, K] is the weight of M output channels, b [..., K, N] an
 * image of K channels in one row, and a stack of matrices is so many groups. Few sums of great depth (the Gram matrix
 * of a gradient's pieces) are a weight gradient instead, which shares a sum among threads.
 */
import type { KernelAttributes } from "../../backend.ts";
import type { GpuKernel, GpuRuntime, GpuView } from "../runtime.ts";
import { conv2d, conv2dWeightGradient } from "./convolution/index.ts";
import { same } from "./copy.ts";
import { launchPointwise } from "./pointwise.ts";

const plain = { stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1] } as const;

/** From this depth on, and for at most so many sums, a thread for every sum would leave most of the device idle. */
const deep = { depth: 2048, sums: 4096 };

/** The strides of the axes before the last as one axis; null where they do not lie so. */
function leadingStride({ shape, strides }: GpuView): number | null {
  let stride: number | null = null;
  let inner = 1;
  for (let axis = shape.length - 2; axis >= 0; axis--) {
    if (shape[axis] === 1) continue;
    if (stride === null) stride = strides[axis];
    else if (strides[axis] !== stride * inner) return null;
    inner *= shape[axis];
  }
  return stride ?? 0;
}

/** Runs `body` with the view whose leading axes are one, a copy where they cannot be. */
function withRows(runtime: GpuRuntime, view: GpuView, body: (rows: GpuView) => void): void {
  const columns = view.shape[view.shape.length - 1];
  const rows = view.shape.slice(0, -1).reduce((product, extent) => product * extent, 1);
  const asRows = (
    buffer: GpuView["buffer"],
    offset: number,
    strides: readonly [number, number],
  ): GpuView => ({
    buffer,
    offset,
    shape: [rows, columns],
    strides,
  });
  const stride = leadingStride(view);
  if (stride !== null) {
    body(asRows(view.buffer, view.offset, [stride, view.strides[view.strides.length - 1]]));
    return;
  }
  runtime.scratch(rows * columns, (target) => {
    const strides = view.shape.map((_, axis) => view.shape.slice(axis + 1).reduce((a, b) => a * b, 1));
    launchPointwise(runtime, "copy", [view], { buffer: target, shape: view.shape, strides, offset: 0 }, same);
    body(asRows(target, 0, [columns, 1]));
  });
}

/** In how many rows a long sum is cut: a divisor of its depth, so that the rows are all of one length. */
function rowsOf(depth: number): number {
  for (let rows = 256; rows > 1; rows--) if (depth % rows === 0) return rows;
  return 1;
}

function deepProduct(runtime: GpuRuntime, a: GpuView, b: GpuView, output: GpuView): void {
  const [M, depth] = a.shape;
  const N = b.shape[1];
  const rows = rowsOf(depth);
  const columns = depth / rows;
  const image = (view: GpuView, channels: number, channel: number, step: number): GpuView => ({
    buffer: view.buffer,
    offset: view.offset,
    shape: [1, channels, rows, columns],
    strides: [0, channel, columns * step, step],
  });
  conv2dWeightGradient(
    runtime,
    [image(b, N, b.strides[1], b.strides[0]), image(a, M, a.strides[0], a.strides[1])],
    { buffer: output.buffer, offset: output.offset, shape: [M, N, 1, 1], strides: [...output.strides, 0, 0] },
    { ...plain, groups: 1, weightShape: [M, N, 1, 1] },
  );
}

export const matmul: GpuKernel<KernelAttributes["matmul"]> = (runtime, [a, b], output) => {
  const [M, K] = a.shape.slice(-2);
  const N = b.shape[b.shape.length - 1];
  const batch = a.shape.slice(0, -2).reduce((product, extent) => product * extent, 1);
  if (batch * M * N === 0) return;
  const result: GpuView = {
    buffer: output.buffer,
    offset: output.offset,
    shape: [1, batch * M, 1, N],
    strides: [0, output.strides[output.strides.length - 2], 0, output.strides[output.strides.length - 1]],
  };
  if (batch === 1 && K >= deep.depth && M * N <= deep.sums) {
    deepProduct(
      runtime,
      { ...a, shape: [M, K], strides: a.strides.slice(-2) },
      { ...b, shape: [K, N], strides: b.strides.slice(-2) },
      { ...output, shape: [M, N], strides: output.strides.slice(-2) },
    );
    return;
  }
  withRows(runtime, a, (weights) =>
    withRows(runtime, b, (rows) => {
      const [outer, inner] = weights.strides;
      conv2d(
        runtime,
        [
          { ...rows, shape: [1, batch * K, 1, N], strides: [0, rows.strides[0], 0, rows.strides[1]] },
          { ...weights, shape: [batch * M, K, 1, 1], strides: [outer, inner, 0, 0] },
        ],
        result,
        { ...plain, groups: batch },
      );
    }),
  );
};
