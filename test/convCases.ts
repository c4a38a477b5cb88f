/** Random convolutions (and pooling windows) and the plain definition of a convolution as a list of products. */
import fc from "fast-check";
import type { Conv2dAttributes } from "../src/backends/cpu/loops/conv2d.ts";

/** A convolution by the outputs it is to have. */
export interface ConvCase {
  readonly N: number;
  readonly groupInputs: number;
  readonly groupOutputs: number;
  readonly kernel: readonly [number, number];
  /** Outputs and what is left over after the last window. */
  readonly outputs: readonly [number, number];
  readonly rest: readonly [number, number];
  readonly attributes: Conv2dAttributes;
}

const pair = <T>(value: fc.Arbitrary<T>) => fc.tuple(value, value);
export const convCase: fc.Arbitrary<ConvCase> = fc.record({
  N: fc.nat(3),
  groupInputs: fc.integer({ min: 1, max: 5 }),
  groupOutputs: fc.integer({ min: 1, max: 6 }),
  kernel: pair(fc.integer({ min: 1, max: 4 })),
  outputs: pair(fc.integer({ min: 1, max: 6 })),
  rest: pair(fc.nat(2)),
  attributes: fc.record({
    stride: pair(fc.integer({ min: 1, max: 3 })),
    padding: fc.oneof(
      fc.constant<[number, number, number, number]>([0, 0, 0, 0]),
      fc.tuple(fc.nat(2), fc.nat(2), fc.nat(2), fc.nat(2)),
    ),
    dilation: pair(fc.integer({ min: 1, max: 3 })),
    groups: fc.integer({ min: 1, max: 3 }),
  }),
});

/** The input extents that give the wanted outputs; at least 1, so that the outputs may be more than wanted. */
export function convShapes({ N, groupInputs, groupOutputs, kernel, outputs, rest, attributes }: ConvCase) {
  const { stride, padding, dilation, groups } = attributes;
  const extent = (i: 0 | 1) => {
    const margin = padding[2 * i] + padding[2 * i + 1];
    const span = (outputs[i] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1;
    return Math.max(1, span + Math.min(rest[i], stride[i] - 1) - margin);
  };
  const [H, W] = [extent(0), extent(1)];
  const out = (length: number, i: 0 | 1) =>
    Math.floor(
      (length + padding[2 * i] + padding[2 * i + 1] - dilation[i] * (kernel[i] - 1) - 1) / stride[i],
    ) + 1;
  return {
    x: [N, groupInputs * groups, H, W],
    weight: [groupOutputs * groups, groupInputs, kernel[0], kernel[1]],
    y: [N, groupOutputs * groups, out(H, 0), out(W, 1)],
  };
}

/**
 * Visits every product of the definition: flat positions in x (-1 on the padding), weight and y.
 * The seven loops are n, k, p, q, c, r, s.
 */
export function forEachProduct(
  x: readonly number[],
  weight: readonly number[],
  y: readonly number[],
  { stride, padding, dilation, groups }: Conv2dAttributes,
  visit: (x: number, weight: number, y: number) => void,
): void {
  const [, C, H, W] = x;
  const [, groupInputs, R, S] = weight;
  const [N, K, P, Q] = y;
  for (let n = 0; n < N; n++)
    for (let k = 0; k < K; k++)
      for (let p = 0; p < P; p++)
        for (let q = 0; q < Q; q++)
          for (let c = 0; c < groupInputs; c++)
            for (let r = 0; r < R; r++)
              for (let s = 0; s < S; s++) {
                const h = p * stride[0] - padding[0] + r * dilation[0];
                const w = q * stride[1] - padding[2] + s * dilation[1];
                const channel = Math.floor(k / (K / groups)) * groupInputs + c;
                const inside = h >= 0 && h < H && w >= 0 && w < W;
                visit(
                  inside ? ((n * C + channel) * H + h) * W + w : -1,
                  ((k * groupInputs + c) * R + r) * S + s,
                  ((n * K + k) * P + p) * Q + q,
                );
              }
}
