/** Layers that only pass on, drop or reshape. */
import { dropout, flatten } from "../../autograd/index.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { Module } from "../module.ts";

/** Passes its input on. */
export class Identity extends Module {
  override forward(x: Tensor): Tensor {
    return x;
  }
}

/** Merges all axes from `startAxis` on: `[N, C, H, W]` to `[N, C·H·W]`. */
export class Flatten extends Module {
  readonly startAxis: number;

  constructor(startAxis = 1) {
    super();
    this.startAxis = startAxis;
  }

  override forward(x: Tensor): Tensor {
    return flatten(x, this.startAxis);
  }

  override describe(): string {
    return `startAxis=${this.startAxis}`;
  }
}

/** In training, zeroes elements with the given probability and scales the rest so that the mean stays. */
export class Dropout extends Module {
  readonly probability: number;

  /** Throws unless the probability lies in [0, 1]. */
  constructor(probability = 0.5) {
    super();
    if (!(probability >= 0 && probability <= 1))
      throw new Error(`Dropout: probability ${probability} must lie between 0 and 1`);
    this.probability = probability;
  }

  override forward(x: Tensor): Tensor {
    return dropout(x, this.probability, { training: this.training });
  }

  override describe(): string {
    return `probability=${this.probability}`;
  }
}
