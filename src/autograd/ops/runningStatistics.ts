/** What a norm keeps of the batches that it has seen, moved on by one batch: all in one kernel. */
import type { HostView } from "../../backends/backend.ts";
import { formatShape, sameShape } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { select } from "./slice.ts";

declare module "../../backends/backend.ts" {
  interface KernelAttributes {
    runningStatistics: RunningStatisticsAttributes;
  }
}

export interface RunningStatisticsAttributes {
  /** Weight of the newest batch. */
  readonly momentum: number;
  /** What makes a biased variance unbiased: n / (n − 1) for n values per channel. */
  readonly correction: number;
}

/** The buffers of a norm, all of which are written. */
export interface RunningStatistics {
  /** `[C]` */
  readonly mean: Tensor;
  /** `[C]` */
  readonly variance: Tensor;
  /** `[]`, i32 */
  readonly batches: Tensor;
}

/** Moves every entry of `running` towards that of `value`. */
function move(running: HostView, value: HostView, momentum: number, factor: number): void {
  for (let c = 0; c < running.shape[0]; c++) {
    const at = running.offset + c * running.strides[0];
    const newest = value.data[value.offset + c * value.strides[0]];
    running.data[at] = (1 - momentum) * running.data[at] + momentum * factor * newest;
  }
}

function reference(
  [mean, variance, batches, batchMean, batchVariance]: readonly HostView[],
  _output: HostView,
  { momentum, correction }: RunningStatisticsAttributes,
): void {
  move(mean, batchMean, momentum, 1);
  move(variance, batchVariance, momentum, correction);
  batches.data[batches.offset] += 1;
}

/**
 * Takes a batch into the running statistics: mean and variance become (1 − momentum) · old + momentum · new, with the
 * unbiased variance of the batch, and the number of batches grows by one. `statistics` `[2, C]` are the batch's mean
 * and biased variance over `count` values per channel. The writes are counted, as those of `assign`. Throws when the
 * shapes do not fit.
 */
export function updateRunningStatistics(
  { mean, variance, batches }: RunningStatistics,
  statistics: Tensor,
  { momentum, count }: { readonly momentum: number; readonly count: number },
): void {
  const [, channels] = statistics.shape;
  for (const { shape } of [mean, variance])
    if (!sameShape(shape, [channels]) || batches.size !== 1)
      throw new Error(
        `updateRunningStatistics: running statistics ${formatShape(shape)} and a counter ${formatShape(batches.shape)} ` +
          `do not match those of a batch, ${formatShape(statistics.shape)}; they are [C] and [] for [2, C]`,
      );
  mean.backend.run({
    kernel: "runningStatistics",
    reference,
    inputs: [mean, variance, batches, select(statistics, 0, 0), select(statistics, 0, 1)],
    output: mean,
    attributes: { momentum, correction: count / (count - 1) },
  });
  for (const written of [mean, variance, batches]) written.storage.version += 1;
}
