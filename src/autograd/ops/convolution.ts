/**
 * What a convolution is, for the ops that are one or a part of one: its attributes, its shape rule, its definition and
 * that of its gradients as loops, and sizes to test it with.
 *
 * Letters, here and in every kernel: N images, C input channels, H x W input, K output channels, R x S window,
 * P x Q output.
 */
import type { HostKernel } from "../../backends/backend.ts";
import { isFloat } from "../../backends/dtype.ts";
import { formatShape, type Shape, sizeOf } from "../../tensor/layout.ts";
import type { SampleSource, TensorType } from "../defineOp.ts";
import { outputExtent } from "./windows.ts";

export interface Conv2dAttributes {
  readonly stride: readonly [vertical: number, horizontal: number];
  /** Rows and columns of zeros at the top, bottom, left, right. */
  readonly padding: readonly [top: number, bottom: number, left: number, right: number];
  readonly dilation: readonly [vertical: number, horizontal: number];
  /** Channels are split into so many groups, each convolved on its own. */
  readonly groups: number;
}

/** The output shape `[N, K, P, Q]`; throws an error that names the sizes that clash. */
export function outputShape(x: TensorType, weight: TensorType, attributes: Conv2dAttributes): number[] {
  const { stride, padding, dilation, groups } = attributes;
  const shapes = `input ${formatShape(x.shape)}, weight ${formatShape(weight.shape)}`;
  if (x.shape.length !== 4 || weight.shape.length !== 4)
    throw new Error(`conv2d: expects input [N, C, H, W] and weight [K, C/groups, R, S], got ${shapes}`);
  if (!isFloat(x.dtype) || x.dtype !== weight.dtype)
    throw new Error(
      `conv2d: input is ${x.dtype} and weight ${weight.dtype}; both must be f32 or both f64, convert with to(dtype)`,
    );
  const [N, C, H, W] = x.shape;
  const [K, perGroup, R, S] = weight.shape;
  if (!Number.isInteger(groups) || groups < 1 || C % groups !== 0 || K % groups !== 0)
    throw new Error(
      `conv2d: groups ${groups} must divide the ${C} input channels and the ${K} output channels (${shapes})`,
    );
  if (C / groups !== perGroup)
    throw new Error(
      `conv2d: weight ${formatShape(weight.shape)} expects ${perGroup} input channels per group, ` +
        `input ${formatShape(x.shape)} has ${C / groups}${groups > 1 ? ` (${C} in ${groups} groups)` : ""}`,
    );
  return [
    N,
    K,
    outputExtent("conv2d", H, R, stride[0], padding[0], padding[1], dilation[0]),
    outputExtent("conv2d", W, S, stride[1], padding[2], padding[3], dilation[1]),
  ];
}

/** Calls `visit` with the positions of every multiply-add: in the input, the weight and the output. */
function forEachTap(
  inputShape: Shape,
  weightShape: Shape,
  outputShape: Shape,
  { stride, padding, dilation, groups }: Conv2dAttributes,
  visit: (x: readonly number[], w: readonly number[], y: readonly number[]) => void,
): void {
  const [N, , H, W] = inputShape;
  const [K, perGroup, R, S] = weightShape;
  const [, , P, Q] = outputShape;
  for (let n = 0; n < N; n++)
    for (let k = 0; k < K; k++)
      for (let p = 0; p < P; p++)
        for (let q = 0; q < Q; q++)
          for (let c = 0; c < perGroup; c++)
            for (let r = 0; r < R; r++)
              for (let s = 0; s < S; s++) {
                const h = p * stride[0] - padding[0] + r * dilation[0];
                const w = q * stride[1] - padding[2] + s * dilation[1];
                const group = Math.floor(k / (K / groups));
                if (h >= 0 && h < H && w >= 0 && w < W)
                  visit([n, group * perGroup + c, h, w], [k, c, r, s], [n, k, p, q]);
              }
}

const at = (
  { strides, offset }: { readonly strides: readonly number[]; readonly offset: number },
  index: readonly number[],
) => index.reduce((position, i, axis) => position + i * strides[axis], offset);

/** Sums products in f64 into row-major `sums`, then stores them: one rounding per element. */
function accumulate(
  output: Parameters<HostKernel<unknown>>[1],
  fill: (add: (index: readonly number[], value: number) => void) => void,
): void {
  const sums = new Float64Array(sizeOf(output.shape));
  const [, b, c, d] = output.shape;
  const rowMajor = ([i, j, k, l]: readonly number[]) => ((i * b + j) * c + k) * d + l;
  fill((index, value) => {
    sums[rowMajor(index)] += value;
  });
  for (let i = 0; i < sums.length; i++) {
    const index = [Math.floor(i / (b * c * d)), Math.floor(i / (c * d)) % b, Math.floor(i / d) % c, i % d];
    output.data[at(output, index)] = sums[i];
  }
}

/** Σ x · weight over the window, plus the bias: the definition, in f64. */
export const conv2dReference: HostKernel<Conv2dAttributes> = ([x, weight, bias], output, attributes) =>
  accumulate(output, (add) => {
    if (bias) {
      const [N, K, P, Q] = output.shape;
      for (let n = 0; n < N; n++)
        for (let k = 0; k < K; k++)
          for (let p = 0; p < P; p++) for (let q = 0; q < Q; q++) add([n, k, p, q], bias.data[at(bias, [k])]);
    }
    forEachTap(x.shape, weight.shape, output.shape, attributes, (i, j, k) =>
      add(k, x.data[at(x, i)] * weight.data[at(weight, j)]),
    );
  });

/** Σ gradient · weight over the outputs that read an input. */
export const inputGradientReference: HostKernel<Conv2dAttributes> = (
  [gradient, weight],
  output,
  attributes,
) =>
  accumulate(output, (add) =>
    forEachTap(output.shape, weight.shape, gradient.shape, attributes, (i, j, k) =>
      add(i, gradient.data[at(gradient, k)] * weight.data[at(weight, j)]),
    ),
  );

/** Σ x · gradient over all positions where a weight met x. */
export const weightGradientReference: HostKernel<Conv2dAttributes> = ([x, gradient], output, attributes) =>
  accumulate(output, (add) =>
    forEachTap(x.shape, output.shape, gradient.shape, attributes, (i, j, k) =>
      add(j, x.data[at(x, i)] * gradient.data[at(gradient, k)]),
    ),
  );

/** Floating-point operations of a convolution of such a weight and output, a multiply-add counted as two. */
export const multiplyAdds = (weight: Shape, output: Shape): number =>
  2 * sizeOf(output) * sizeOf(weight.slice(1));

/** Operand shapes that fit each other. */
export interface Sizes {
  readonly x: { readonly shape: Shape };
  readonly weight: { readonly shape: Shape };
  readonly bias: { readonly shape: Shape };
  readonly y: { readonly shape: Shape };
  readonly attributes: Conv2dAttributes;
}

function sizes(x: Shape, weight: Shape, attributes: Conv2dAttributes): Sizes {
  const y = outputShape({ shape: x, dtype: "f64" }, { shape: weight, dtype: "f64" }, attributes);
  return {
    x: { shape: x },
    weight: { shape: weight },
    bias: { shape: [weight[0]] },
    y: { shape: y },
    attributes,
  };
}

/** The sizes every kernel of a convolution must take. */
export function sampleSizes(): Sizes[] {
  const plain: Conv2dAttributes = { stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups: 1 };
  return [
    sizes([1, 1, 1, 1], [1, 1, 1, 1], plain),
    sizes([2, 3, 5, 4], [2, 3, 1, 1], plain),
    sizes([2, 2, 5, 7], [3, 2, 3, 3], { ...plain, padding: [1, 1, 1, 1] }),
    // A stride that does not divide: the last rows and columns are read by no window.
    sizes([1, 2, 6, 5], [2, 2, 3, 2], { ...plain, stride: [2, 3], padding: [0, 1, 2, 0] }),
    sizes([2, 4, 6, 6], [6, 2, 3, 3], { ...plain, dilation: [2, 1], groups: 2, padding: [2, 2, 1, 1] }),
    sizes([1, 3, 4, 4], [3, 1, 3, 3], { ...plain, stride: [2, 2], groups: 3, padding: [1, 1, 1, 1] }),
    sizes([0, 2, 3, 3], [2, 2, 2, 2], plain),
  ];
}

/** Random sizes that fit each other. */
export function drawSizes(source: SampleSource): Sizes {
  const groups = source.pick([1, 1, 2, 3]);
  const two = (low: number, high: number): [number, number] => [
    source.integer(low, high),
    source.integer(low, high),
  ];
  const [R, S] = two(1, 3);
  const dilation = two(1, 2);
  const padding: [number, number, number, number] = [...two(0, 2), ...two(0, 2)];
  const least = (window: number, axis: 0 | 1) =>
    Math.max(1, dilation[axis] * (window - 1) + 1 - padding[2 * axis] - padding[2 * axis + 1]);
  const perGroup = source.integer(1, 2);
  const x = [
    source.integer(1, 2),
    perGroup * groups,
    least(R, 0) + source.integer(0, 3),
    least(S, 1) + source.integer(0, 3),
  ];
  const weight = [groups * source.integer(1, 2), perGroup, R, S];
  return sizes(x, weight, { stride: two(1, 3), padding, dilation, groups });
}
