/** Stochastic depth (Huang et al. 2016), which EfficientNet calls drop connect: whole branches are left out. */
import { dropout, mul } from "../../autograd/index.ts";
import { ones } from "../../tensor/create.ts";
import { formatShape } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { Module } from "../module.ts";

/**
 * In training, zeroes each image's whole branch `[N, C, H, W]` with the given probability and scales the others so
 * that the mean stays; an image is dropped or kept independently of the rest of the batch. Put it at the end of a
 * residual branch, before the sum.
 */
export class StochasticDepth extends Module {
  readonly probability: number;

  /** Throws unless the probability lies in [0, 1]. */
  constructor(probability: number) {
    super();
    if (!(probability >= 0 && probability <= 1))
      throw new Error(`StochasticDepth: probability ${probability} must lie between 0 and 1`);
    this.probability = probability;
  }

  /** Throws for a scalar, which has no batch. */
  override forward(x: Tensor): Tensor {
    if (x.rank === 0)
      throw new Error(`StochasticDepth: input ${formatShape(x.shape)} must have a batch axis [N, …]`);
    if (!this.training || this.probability === 0) return x;
    const { dtype, backend } = x;
    const perImage = ones(
      x.shape.map((extent, axis) => (axis === 0 ? extent : 1)),
      { dtype, backend },
    );
    return mul(x, dropout(perImage, this.probability));
  }

  override describe(): string {
    return `probability=${this.probability}`;
  }
}
