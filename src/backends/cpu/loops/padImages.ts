/** Images with a margin of zeros, a few at a time, for kernels whose windows reach over the edge. */
import type { HostView } from "../../backend.ts";
import type { TypedArray } from "../../dtype.ts";
import { createWorkspace, type Workspace } from "./workspace.ts";

const f32: Workspace<TypedArray> = createWorkspace((length) => new Float32Array(length));
const f64: Workspace<TypedArray> = createWorkspace((length) => new Float64Array(length));

/** A block of images; `load` makes images n to n + count - 1 available and returns where the first one starts. */
export interface ImageBlock {
  readonly data: TypedArray;
  /** Of image, channel, padded row and padded column. */
  readonly strides: readonly [number, number, number, number];
  load(n: number, count: number): number;
}

/**
 * Presents x [N, C, H, W] with `padding` (top, bottom, left, right) in blocks of up to `block` images.
 * Without padding this is x itself, whatever its strides. At most one padded block is in use at a time.
 */
export function padImages(
  x: HostView,
  padding: readonly [number, number, number, number],
  block: number,
): ImageBlock {
  const [xN, xC, xH, xW] = x.strides;
  const [top, bottom, left, right] = padding;
  if (top === 0 && bottom === 0 && left === 0 && right === 0) {
    return { data: x.data, strides: [xN, xC, xH, xW], load: (n) => x.offset + n * xN };
  }
  const [, C, H, W] = x.shape;
  const rowStride = W + left + right;
  const planeStride = rowStride * (H + top + bottom);
  const imageStride = planeStride * C;
  // Converting to double here would double the memory that the windows walk over.
  const data = (x.dtype === "f32" ? f32 : f64)(block * imageStride);
  data.fill(0, 0, block * imageStride);
  const load = (n: number, count: number): number => {
    for (let i = 0; i < count; i++) {
      for (let c = 0; c < C; c++) {
        const fromPlane = x.offset + (n + i) * xN + c * xC;
        const toPlane = i * imageStride + c * planeStride + top * rowStride + left;
        for (let h = 0; h < H; h++) copyRow(x.data, fromPlane + h * xH, xW, data, toPlane + h * rowStride, W);
      }
    }
    return 0;
  };
  return { data, strides: [imageStride, planeStride, rowStride, 1], load };
}

function copyRow(
  from: TypedArray,
  fromStart: number,
  fromStride: number,
  to: TypedArray,
  toStart: number,
  count: number,
): void {
  for (let i = 0, at = fromStart; i < count; i++, at += fromStride) to[toStart + i] = from[at];
}
