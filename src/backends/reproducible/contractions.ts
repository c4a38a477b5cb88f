/**
 * Convolutions, their gradients and matrix products as sums of products over windows of memory: padding and the gaps of
 * a strided gradient are laid down as zeros first, and then every one of them is a view of seven or eight axes.
 *
 * Letters: N images, G groups, C input channels, H x W input, K output channels, R x S window, P x Q output.
 */
import type { Layout, Shape } from "../backend.ts";
import { constant, input } from "./expressions.ts";
import { type Machine, type Recipe, sizeOf, through } from "./machine.ts";

/** Rows and columns of something. */
type Pair = readonly [number, number];

/** How images are laid down among zeros. */
interface Place {
  /** Rows and columns of the whole. */
  readonly extent: Pair;
  /** Where the first pixel goes. */
  readonly start: Pair;
  /** From pixel to pixel. */
  readonly step: Pair;
}

/** `images` [N, C, H, W] among zeros, themselves where there would be none. */
function amongZeros<V extends Layout>(machine: Machine<V>, images: V, place: Place): V {
  const [N, C, H, W] = images.shape;
  const { extent, start, step } = place;
  const isWhole = [H, W].every((n, axis) => extent[axis] <= n && start[axis] === 0 && step[axis] === 1);
  if (isWhole) return images;
  const laid = machine.temporary([N, C, ...extent]);
  machine.pointwise([], laid, constant(0));
  const [n, c, row, column] = laid.strides;
  const inside = through(
    laid,
    images.shape,
    [n, c, row * step[0], column * step[1]],
    laid.offset + start[0] * row + start[1] * column,
  );
  if (sizeOf(images.shape) > 0) machine.pointwise([images], inside, input(0));
  return laid;
}

/** A window that moves over an image. */
export interface Moving {
  /** R x S taps. */
  readonly taps: Pair;
  readonly stride: Pair;
  /** At the top, bottom, left, right. */
  readonly padding: readonly [number, number, number, number];
  readonly dilation: Pair;
}

/** `images` [N, C, H, W] as windows: axes N, C, P, Q, R, S. */
export function windowsOf<V extends Layout>(
  machine: Machine<V>,
  images: V,
  { taps, stride, padding, dilation }: Moving,
  outputs: Pair,
): V {
  const [N, C, H, W] = images.shape;
  const start: Pair = [padding[0], padding[2]];
  const reach = (axis: 0 | 1): number =>
    (outputs[axis] - 1) * stride[axis] + (taps[axis] - 1) * dilation[axis] + 1;
  const extent: Pair = [Math.max(start[0] + H, reach(0)), Math.max(start[1] + W, reach(1))];
  const laid = amongZeros(machine, images, { extent, start, step: [1, 1] });
  const [n, c, row, column] = laid.strides;
  return through(
    laid,
    [N, C, ...outputs, ...taps],
    [n, c, row * stride[0], column * stride[1], row * dilation[0], column * dilation[1]],
  );
}

/**
 * What reads each pixel of an image of H x W: of `outputs` [N, K, P, Q], the one whose tap (r, s) lies on it, else 0.
 * Axes N, K, H, W, R, S.
 */
export function readersOf<V extends Layout>(
  machine: Machine<V>,
  outputs: V,
  { taps, stride, padding, dilation }: Moving,
  image: Pair,
): V {
  const [N, K, P, Q] = outputs.shape;
  const reach: Pair = [(taps[0] - 1) * dilation[0], (taps[1] - 1) * dilation[1]];
  const extentOf = (axis: 0 | 1, count: number, before: number): number =>
    Math.max(image[axis] + before + reach[axis], (count - 1) * stride[axis] + reach[axis] + 1);
  const extent: Pair = [extentOf(0, P, padding[0]), extentOf(1, Q, padding[2])];
  const laid = amongZeros(machine, outputs, { extent, start: reach, step: stride });
  const [n, k, row, column] = laid.strides;
  return through(
    laid,
    [N, K, ...image, ...taps],
    [n, k, row, column, -row * dilation[0], -column * dilation[1]],
    laid.offset + (padding[0] + reach[0]) * row + (padding[2] + reach[1]) * column,
  );
}

interface ConvolutionAttributes extends Omit<Moving, "taps"> {
  readonly groups: number;
}

const tapsOf = (weightShape: Shape): Pair => [weightShape[2], weightShape[3]];

/** Of `x` [N, C, H, W] and `weight` [K, C/G, R, S]; no bias. */
export function convolve<V extends Layout>(
  machine: Machine<V>,
  x: V,
  weight: V,
  output: V,
  attributes: ConvolutionAttributes,
): void {
  const { groups: G } = attributes;
  const [N, K, P, Q] = output.shape;
  const [, C, R, S] = weight.shape;
  if (sizeOf(output.shape) === 0) return;
  const windows = windowsOf(machine, x, { ...attributes, taps: [R, S] }, [P, Q]);
  const [n, c, p, q, r, s] = windows.strides;
  const [wk, wc, wr, ws] = weight.strides;
  const [yn, yk, yp, yq] = output.strides;
  const kept = [N, G, K / G, P, Q];
  const shape = [...kept, C, R, S];
  machine.sum(
    through(windows, shape, [n, C * c, 0, p, q, c, r, s]),
    through(weight, shape, [0, (K / G) * wk, wk, 0, 0, wc, wr, ws]),
    through(output, kept, [yn, (K / G) * yk, yk, yp, yq]),
  );
}

/** Of `gradient` [N, K, P, Q] and `weight`, into the input's [N, C, H, W]. */
export function convolveBack<V extends Layout>(
  machine: Machine<V>,
  gradient: V,
  weight: V,
  output: V,
  attributes: ConvolutionAttributes,
): void {
  const { groups: G } = attributes;
  const [N, , H, W] = output.shape;
  const [K, C, R, S] = weight.shape;
  if (sizeOf(output.shape) === 0) return;
  const readers = readersOf(machine, gradient, { ...attributes, taps: [R, S] }, [H, W]);
  const [n, k, h, w, r, s] = readers.strides;
  const [wk, wc, wr, ws] = weight.strides;
  const [yn, yc, yh, yw] = output.strides;
  const kept = [N, G, C, H, W];
  const shape = [...kept, K / G, R, S];
  machine.sum(
    through(readers, shape, [n, (K / G) * k, 0, h, w, k, r, s]),
    through(weight, shape, [0, (K / G) * wk, wc, 0, 0, wk, wr, ws]),
    through(output, kept, [yn, C * yc, yc, yh, yw]),
  );
}

/** Of `x` and `gradient` [N, K, P, Q], into the weight's [K, C/G, R, S]. */
export function convolveWeight<V extends Layout>(
  machine: Machine<V>,
  x: V,
  gradient: V,
  output: V,
  attributes: ConvolutionAttributes,
): void {
  const { groups: G } = attributes;
  const [N, , P, Q] = gradient.shape;
  const [K, C] = output.shape;
  const taps = tapsOf(output.shape);
  if (sizeOf(output.shape) === 0) return;
  const windows = windowsOf(machine, x, { ...attributes, taps }, [P, Q]);
  const [n, c, p, q, r, s] = windows.strides;
  const [gn, gk, gp, gq] = gradient.strides;
  const [yk, yc, yr, ys] = output.strides;
  const kept = [G, K / G, C, ...taps];
  const shape = [...kept, N, P, Q];
  machine.sum(
    through(windows, shape, [C * c, 0, c, r, s, n, p, q]),
    through(gradient, shape, [(K / G) * gk, gk, 0, 0, 0, gn, gp, gq]),
    through(output, kept, [(K / G) * yk, yk, yc, yr, ys]),
  );
}

/** Σₖ a[…, m, k] · b[…, k, n] */
export const matmul: Recipe<unknown> = ({ machine, inputs: [a, b], output }) => {
  const rank = output.shape.length;
  const batch = output.shape.slice(0, -2);
  const [M, depth] = a.shape.slice(-2);
  const columns = output.shape[rank - 1];
  const shape = [...batch, M, columns, depth];
  const leading = (view: Layout): readonly number[] => view.strides.slice(0, -2);
  machine.sum(
    through(a, shape, [...leading(a), a.strides[rank - 2], 0, a.strides[rank - 1]]),
    through(b, shape, [...leading(b), 0, b.strides[rank - 1], b.strides[rank - 2]]),
    output,
  );
};

/** Σ x over `axes`, which stay with extent 1. */
export function sumOver<V extends Layout>(
  machine: Machine<V>,
  x: V,
  axes: readonly number[],
  output: V,
): void {
  machine.sum(reducedLast(x, axes), null, keptOf(output, axes));
}

const otherAxes = (rank: number, axes: readonly number[]): number[] =>
  Array.from({ length: rank }, (_, axis) => axis).filter((axis) => !axes.includes(axis));

/** The axes that a reduction keeps, then those that it takes. */
export function reducedLast<V extends Layout>(x: V, axes: readonly number[]): V {
  const order = [...otherAxes(x.shape.length, axes), ...axes];
  return through(
    x,
    order.map((axis) => x.shape[axis]),
    order.map((axis) => x.strides[axis]),
  );
}

/** The output of a reduction, without the axes of extent 1 that were taken. */
export function keptOf<V extends Layout>(output: V, axes: readonly number[]): V {
  const order = otherAxes(output.shape.length, axes);
  return through(
    output,
    order.map((axis) => output.shape[axis]),
    order.map((axis) => output.strides[axis]),
  );
}
