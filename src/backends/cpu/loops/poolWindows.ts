/** The windows of two-dimensional pooling and what they have in common with each other. */
import type { HostView } from "../../backend.ts";

/** Windows of `kernelSize` taps, `dilation` apart, that move by `stride` over an input with a margin. */
export interface Pool2dAttributes {
  readonly kernelSize: readonly [number, number];
  readonly stride: readonly [number, number];
  /** Rows and columns of margin at the top, bottom, left, right. */
  readonly padding: readonly [number, number, number, number];
  readonly dilation: readonly [number, number];
}

/** For every output along one axis: its first tap inside the input and how many taps are inside. */
export interface AxisWindows {
  /** Input index of the first tap inside. */
  readonly first: Int32Array;
  readonly count: Int32Array;
}

function axisWindows(
  extent: number,
  outputs: number,
  size: number,
  stride: number,
  padding: number,
  dilation: number,
): AxisWindows {
  const first = new Int32Array(outputs);
  const count = new Int32Array(outputs);
  for (let p = 0; p < outputs; p++) {
    const start = p * stride - padding;
    const skipped = start < 0 ? Math.ceil(-start / dilation) : 0;
    const end = Math.min(size, Math.ceil((extent - start) / dilation));
    first[p] = start + skipped * dilation;
    count[p] = Math.max(0, end - skipped);
  }
  return { first, count };
}

/** The windows along height and width: input [N, C, H, W], output [N, C, P, Q]. */
export function poolWindows(
  inputShape: readonly number[],
  outputShape: readonly number[],
  { kernelSize, stride, padding, dilation }: Pool2dAttributes,
): { readonly rows: AxisWindows; readonly columns: AxisWindows } {
  const [, , H, W] = inputShape;
  const [, , P, Q] = outputShape;
  return {
    rows: axisWindows(H, P, kernelSize[0], stride[0], padding[0], dilation[0]),
    columns: axisWindows(W, Q, kernelSize[1], stride[1], padding[2], dilation[1]),
  };
}

/** Calls `visit` with the element offset of each [H, W] plane of every view; views agree in N and C. */
export function forEachPlane(views: readonly HostView[], visit: (offsets: readonly number[]) => void): void {
  const [N, C] = views[0].shape;
  const offsets = views.map(() => 0);
  for (let n = 0; n < N; n++) {
    for (let c = 0; c < C; c++) {
      for (let i = 0; i < views.length; i++) {
        const { offset, strides } = views[i];
        offsets[i] = offset + n * strides[0] + c * strides[1];
      }
      visit(offsets);
    }
  }
}

/** Sets every element of [N, C, H, W] `view` to zero. */
export function clearPlanes(view: HostView): void {
  const { data, strides, shape } = view;
  const [, , H, W] = shape;
  const dense = strides[3] === 1 && strides[2] === W;
  forEachPlane([view], ([plane]) => {
    if (dense) {
      data.fill(0, plane, plane + H * W);
      return;
    }
    for (let h = 0; h < H; h++) {
      for (let w = 0, at = plane + h * strides[2]; w < W; w++, at += strides[3]) data[at] = 0;
    }
  });
}
