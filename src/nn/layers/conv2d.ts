/** The convolution layer. */
import { conv2d, type Padding, type Pair, pair } from "../../autograd/index.ts";
import { padding4 } from "../../autograd/ops/windows.ts";
import { zeros } from "../../tensor/create.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { kaimingUniform, uniform } from "../init.ts";
import { Module } from "../module.ts";
import { Parameter } from "../parameter.ts";

export interface Conv2dLayerOptions {
  /** Default 1. */
  readonly stride?: Pair;
  /** A number, [vertical, horizontal] or [top, bottom, left, right]. Default 0. */
  readonly padding?: Padding;
  /** Default 1. */
  readonly dilation?: Pair;
  /** Default 1. */
  readonly groups?: number;
  /** Default true. */
  readonly bias?: boolean;
}

/** Convolution of `[N, inChannels, H, W]` to `[N, outChannels, P, Q]`; weight `[outChannels, inChannels/groups, R, S]`. */
export class Conv2d extends Module {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly kernelSize: readonly [number, number];
  readonly options: Required<Conv2dLayerOptions>;
  weight: Parameter;
  bias: Parameter | null;

  /** Throws when `groups` does not divide both channel counts, or a size is no positive integer. */
  constructor(inChannels: number, outChannels: number, kernelSize: Pair, options: Conv2dLayerOptions = {}) {
    super();
    this.inChannels = inChannels;
    this.outChannels = outChannels;
    this.kernelSize = pair("Conv2d", "kernelSize", kernelSize);
    this.options = { stride: 1, padding: 0, dilation: 1, groups: 1, bias: true, ...options };
    const { groups, stride, padding, dilation } = this.options;
    pair("Conv2d", "stride", stride);
    pair("Conv2d", "dilation", dilation);
    padding4("Conv2d", padding);
    for (const [what, value] of Object.entries({ inChannels, outChannels, groups }))
      if (!Number.isInteger(value) || value < 1)
        throw new Error(`Conv2d: ${what} ${value} must be a positive integer`);
    if (inChannels % groups !== 0 || outChannels % groups !== 0)
      throw new Error(
        `Conv2d: groups ${groups} must divide inChannels ${inChannels} and outChannels ${outChannels}`,
      );
    this.weight = new Parameter(zeros([outChannels, inChannels / groups, ...this.kernelSize]));
    this.bias = this.options.bias ? new Parameter(zeros([outChannels])) : null;
    this.resetParameters();
  }

  /** PyTorch's initial values: uniform in ±√(1 / fanIn). */
  resetParameters(): void {
    kaimingUniform(this.weight);
    const bound = 1 / Math.sqrt(this.weight.size / this.outChannels);
    if (this.bias) uniform(this.bias, -bound, bound);
  }

  override forward(x: Tensor): Tensor {
    const { bias, ...window } = this.options;
    return conv2d(x, this.weight, this.bias ? { ...window, bias: this.bias } : window);
  }

  override describe(): string {
    const { stride, padding, dilation, groups, bias } = this.options;
    const parts = [this.inChannels, this.outChannels, `kernelSize=[${this.kernelSize.join(", ")}]`];
    const text = (value: Pair | Padding) => (typeof value === "number" ? value : `[${value.join(", ")}]`);
    parts.push(`stride=${text(stride)}`, `padding=${text(padding)}`);
    if (text(dilation) !== 1) parts.push(`dilation=${text(dilation)}`);
    if (groups !== 1) parts.push(`groups=${groups}`);
    if (!bias) parts.push("bias=false");
    return parts.join(", ");
  }
}
