/**
 * What all parts of a convolution agree on. Letters as in `autograd/ops/convolution.ts`: N images, C input channels,
 * H x W input, K output channels, R x S window, P x Q output; C and K are those of one group here.
 */
import type { Conv2dAttributes } from "../../../../autograd/ops/convolution.ts";
import type { GpuView } from "../../runtime.ts";

/** Rounds up to a multiple. */
export const roundUp = (value: number, multiple: number): number => Math.ceil(value / multiple) * multiple;

/** Images that a product reads: rows lie one after the other, every offset is a multiple of four elements. */
export interface Images {
  readonly view: GpuView["buffer"];
  readonly offset: number;
  /** Strides from image to image, channel to channel, row to row; columns are neighbours. */
  readonly image: number;
  readonly channel: number;
  readonly row: number;
  /**
   * Where the last four elements begin, for images whose rows are shorter than what a tile reads: loads stop there,
   * and what lies beyond a row is computed and not stored. null where every load stays inside.
   */
  readonly last: number | null;
}

/** The extents of a convolution. */
export interface Extents {
  readonly N: number;
  readonly groups: number;
  /** Channels of a group. */
  readonly C: number;
  readonly K: number;
  readonly R: number;
  readonly S: number;
  readonly P: number;
  readonly Q: number;
  readonly stride: readonly [number, number];
  readonly dilation: readonly [number, number];
  readonly padding: readonly [top: number, bottom: number, left: number, right: number];
}

/** From the shapes of input `[N, C, H, W]`, weight `[K, C/groups, R, S]` and output `[N, K, P, Q]`. */
export function extentsOf(
  weightShape: readonly number[],
  outputShape: readonly number[],
  { stride, padding, dilation, groups }: Conv2dAttributes,
): Extents {
  const [K, C, R, S] = weightShape;
  const [N, , P, Q] = outputShape;
  return { N, groups, C, K: K / groups, R, S, P, Q, stride, dilation, padding };
}

/** Whether the window is one element that moves by one and nothing is padded: then rows need not be told apart. */
export function isPointwise({ R, S, stride, padding }: Extents): boolean {
  return R === 1 && S === 1 && stride[0] === 1 && stride[1] === 1 && padding.every((margin) => margin === 0);
}

/** The same convolution with every image as one row; only for those that `isPointwise`. */
export function asOneRow(extents: Extents): Extents {
  return { ...extents, P: 1, Q: extents.P * extents.Q };
}

/** `[N, C, H, W]` as `[N, C, 1, H·W]` where its rows lie one after the other, else null. */
export function flattenRows(view: GpuView): GpuView | null {
  const [N, C, H, W] = view.shape;
  const [image, channel, row, column] = view.strides;
  if (H > 1 && row !== W * column) return null;
  return { ...view, shape: [N, C, 1, H * W], strides: [image, channel, H * W * column, column] };
}

/** Whether the elements lie one after the other; axes of extent 1 may have any stride. */
export function isRowMajor({ shape, strides }: GpuView): boolean {
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== step) return false;
    step *= shape[axis];
  }
  return true;
}

/** Columns of a prepared row that a block of `width` outputs per row may read, so that no load leaves the row. */
export function readColumns({ Q, S, stride, dilation }: Extents, width: number): number {
  const lastBlock = roundUp(Q, width) - width;
  const reach = (width - 1) * stride[1] + (S - 1) * dilation[1] + 1;
  return roundUp(lastBlock * stride[1] + reach, 4);
}
