/** Pooling as layers. */
import {
  type AvgPool2dOptions,
  adaptiveAvgPool2d,
  avgPool2d,
  globalAvgPool2d,
  maxPool2d,
  type Pair,
  type Pool2dOptions,
} from "../../autograd/index.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { Module } from "../module.ts";

const text = (value: number | readonly number[]) =>
  typeof value === "number" ? value : `[${value.join(", ")}]`;

function describeWindow({ kernelSize, stride = kernelSize, padding = 0 }: Pool2dOptions): string {
  return `kernelSize=${text(kernelSize)}, stride=${text(stride)}, padding=${text(padding)}`;
}

/** The largest value of each window. */
export class MaxPool2d extends Module {
  readonly options: Pool2dOptions;

  constructor(kernelSize: Pair, options: Omit<Pool2dOptions, "kernelSize"> = {}) {
    super();
    this.options = { kernelSize, ...options };
  }

  override forward(x: Tensor): Tensor {
    return maxPool2d(x, this.options);
  }

  override describe(): string {
    return describeWindow(this.options);
  }
}

/** The mean of each window. */
export class AvgPool2d extends Module {
  readonly options: AvgPool2dOptions;

  constructor(kernelSize: Pair, options: Omit<AvgPool2dOptions, "kernelSize"> = {}) {
    super();
    this.options = { kernelSize, ...options };
  }

  override forward(x: Tensor): Tensor {
    return avgPool2d(x, this.options);
  }

  override describe(): string {
    return describeWindow(this.options);
  }
}

/** Means over as many windows as make the output `outputSize`. */
export class AdaptiveAvgPool2d extends Module {
  readonly outputSize: Pair;

  constructor(outputSize: Pair) {
    super();
    this.outputSize = outputSize;
  }

  override forward(x: Tensor): Tensor {
    return adaptiveAvgPool2d(x, this.outputSize);
  }

  override describe(): string {
    return `outputSize=${text(this.outputSize)}`;
  }
}

/** The mean of each channel: `[N, C, H, W]` to `[N, C, 1, 1]`. */
export class GlobalAvgPool2d extends Module {
  override forward(x: Tensor): Tensor {
    return globalAvgPool2d(x);
  }
}
