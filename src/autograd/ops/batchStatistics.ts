/** The statistics of a feature map, an op of its own so that all layers that read the map can share them. */
import type { HostKernel } from "../../backends/backend.ts";
import { formatShape, sizeOf } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { defineOp, type SampleSource, type TensorType } from "../defineOp.ts";
import { gradientsOf } from "../derive.ts";
import { square, sub } from "./arithmetic.ts";
import { checkFloats } from "./checks.ts";
import { concat } from "./concat.ts";
import { forEachIndex } from "./indexing.ts";
import { mean } from "./mean.ts";
import { reshape } from "./reshape.ts";
import { checkImages as checkBatch } from "./windows.ts";

declare module "../../backends/backend.ts" {
  interface KernelAttributes {
    batchStatistics: Readonly<Record<string, never>>;
  }
}

/** The axes that statistics are taken over. */
export const overBatch = [0, 2, 3];

/** Throws when `x` is not floating-point images, or has no values. */
export function checkImages(op: string, x: TensorType): void {
  checkBatch(op, x.shape);
  checkFloats(op, x);
  if (sizeOf(x.shape) === 0)
    throw new Error(`${op}: input ${formatShape(x.shape)} has no value per channel to normalise by`);
}

/** Images for the samples: with few values the gradient of a gradient is badly conditioned, so never fewer than 4. */
export const imageShapes = [
  [2, 3, 2, 3],
  [4, 1, 1, 1],
  [1, 2, 5, 3],
];

/** Random images of as few values. */
export function drawImages(source: SampleSource): number[] {
  return [source.integer(2, 3), source.integer(1, 3), source.integer(1, 3), source.integer(2, 3)];
}

/** Plain loops over one channel: the mean and the biased variance, in two passes. */
function channelStatistics(values: readonly number[]): [mean: number, variance: number] {
  const average = values.reduce((total, value) => total + value, 0) / values.length;
  return [average, values.reduce((total, value) => total + (value - average) ** 2, 0) / values.length];
}

const reference: HostKernel<Readonly<Record<string, never>>> = ([x], output) => {
  const [N, C, H, W] = x.shape;
  for (let c = 0; c < C; c++) {
    const values: number[] = [];
    forEachIndex([N, H, W], ([n, h, w]) => {
      values.push(
        x.data[x.offset + n * x.strides[0] + c * x.strides[1] + h * x.strides[2] + w * x.strides[3]],
      );
    });
    channelStatistics(values).forEach((value, row) => {
      output.data[output.offset + row * output.strides[0] + c * output.strides[1]] = value;
    });
  }
};

const batchStatisticsOp = defineOp({
  name: "batchStatistics",
  summary: "[mean, biased variance] of every channel over N, H and W, as [2, C]",
  infer([x]) {
    checkImages("batchStatistics", x);
    return { shape: [2, x.shape[1]], dtype: x.dtype };
  },
  reference,
  gradients: [
    gradientsOf([0], ([x]) => {
      const average = mean(x, overBatch, { keepDims: true });
      const variance = mean(square(sub(x, average)), overBatch, { keepDims: true });
      return reshape(concat([average, variance], 0), [2, x.shape[1]]);
    }),
  ],
  flops: ([x]) => 4 * sizeOf(x.shape),
  samples: () => imageShapes.map((shape) => ({ inputs: [{ shape }], attributes: {} })),
  draw: (source) => ({ inputs: [{ shape: drawImages(source) }], attributes: {} }),
});

/** [mean, biased variance] of every channel of `x` `[N, C, H, W]`, as `[2, C]`. */
export function batchStatistics(x: Tensor): Tensor {
  return batchStatisticsOp([x], {});
}

/** Writes the statistics of `x` into `target` `[2, C]`, which is not counted as a change. Throws like the op. */
export function writeBatchStatistics(x: Tensor, target: Tensor): void {
  checkImages("batchStatistics", x);
  x.backend.run({ kernel: "batchStatistics", reference, inputs: [x], output: target, attributes: {} });
}
