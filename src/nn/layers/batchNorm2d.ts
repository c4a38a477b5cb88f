/** The batch normalisation layer. */
import {
  batchNorm,
  batchNormWith,
  isRecomputing,
  sharedStatistics,
  updateRunningStatistics,
} from "../../autograd/index.ts";
import { ones, zeros } from "../../tensor/create.ts";
import { formatShape } from "../../tensor/layout.ts";
import { scope } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { Module } from "../module.ts";
import { Parameter } from "../parameter.ts";

export interface BatchNorm2dOptions {
  /** Added to the variance; default 1e-5. */
  readonly eps?: number;
  /** Weight of the newest batch in the running statistics; default 0.1. */
  readonly momentum?: number;
}

/**
 * Normalises `[N, C, H, W]` per channel. In training by the batch's mean and biased variance, tracking the mean and
 * the unbiased variance; in evaluation by what was tracked. As PyTorch's, with its state names.
 */
export class BatchNorm2d extends Module {
  readonly channels: number;
  readonly eps: number;
  readonly momentum: number;
  weight: Parameter;
  bias: Parameter;

  constructor(channels: number, { eps = 1e-5, momentum = 0.1 }: BatchNorm2dOptions = {}) {
    super();
    if (!Number.isInteger(channels) || channels < 1)
      throw new Error(`BatchNorm2d: channels ${channels} must be a positive integer`);
    this.channels = channels;
    this.eps = eps;
    this.momentum = momentum;
    this.weight = new Parameter(ones([channels]));
    this.bias = new Parameter(zeros([channels]));
    this.registerBuffer("running_mean", zeros([channels]));
    this.registerBuffer("running_var", ones([channels]));
    this.registerBuffer("num_batches_tracked", zeros([], { dtype: "i32" }));
  }

  /** Throws for other numbers of channels, and when a channel has a single value in training: it has no variance. */
  override forward(x: Tensor): Tensor {
    const { weight, bias, eps: epsilon } = this;
    if (x.rank !== 4 || x.shape[1] !== this.channels)
      throw new Error(`BatchNorm2d: input ${formatShape(x.shape)} must be [N, ${this.channels}, H, W]`);
    if (!this.training)
      return batchNormWith(x, {
        mean: this.buffer("running_mean"),
        variance: this.buffer("running_var"),
        weight,
        bias,
        epsilon,
      });
    const statistics = this.batchStatistics(x);
    const y = batchNorm(x, weight, bias, { epsilon, statistics });
    this.track(x, statistics);
    return y;
  }

  /**
   * Mean and biased variance of the batch `x` `[N, C, H, W]`, as `[2, C]`. Other layers that read the same feature map
   * may share them: do not change them. Throws when a channel has a single value.
   */
  batchStatistics(x: Tensor): Tensor {
    if (x.size === this.channels)
      throw new Error(
        `BatchNorm2d: input ${formatShape(x.shape)} has one value per channel, whose variance is not defined; ` +
          "use a larger batch, or eval()",
      );
    return sharedStatistics(x);
  }

  /** Moves the running statistics towards those of the batch `x`, as a training step does. */
  track(x: Tensor, statistics: Tensor): void {
    if (isRecomputing()) return;
    scope(() =>
      updateRunningStatistics(
        {
          mean: this.buffer("running_mean"),
          variance: this.buffer("running_var"),
          batches: this.buffer("num_batches_tracked"),
        },
        statistics,
        { momentum: this.momentum, count: x.size / this.channels },
      ),
    );
  }

  override describe(): string {
    return `${this.channels}, eps=${this.eps}, momentum=${this.momentum}`;
  }
}
