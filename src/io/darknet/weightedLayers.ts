/** The layers with weights: [convolutional] and [connected]. */
import { flatten, reshape } from "../../autograd/index.ts";
import { BatchNorm2d, Conv2d, type ConvolutionChain, Linear, Module } from "../../nn/index.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { activationModule } from "./activations.ts";
import type { LayerPlan } from "./plan.ts";
import type { SectionOf } from "./schema.ts";
import { convolutionWindow } from "./windows.ts";

/** Of every batch norm in the network. */
export interface NormOptions {
  /** Added to the variance under the root. */
  readonly eps: number;
  /** Weight of the newest batch in the running statistics. */
  readonly momentum: number;
}

/** Convolution, then norm (if any), then activation (if any): `[N, C, H, W]` to `[N, filters, P, Q]`. */
export class ConvolutionalLayer extends Module {
  readonly conv: Conv2d;
  readonly norm: BatchNorm2d | null;
  readonly activation: Module | null;

  constructor(plan: LayerPlan<SectionOf<"convolutional">>, normOptions: NormOptions) {
    super();
    const { section, inputShapes } = plan;
    const { size, stride, dilation, padding } = convolutionWindow(section);
    const normed = section.batch_normalize === 1;
    const options = { stride, padding, dilation, groups: section.groups, bias: !normed };
    this.conv = new Conv2d(inputShapes[0][0], section.filters, size, options);
    this.norm = normed ? new BatchNorm2d(section.filters, normOptions) : null;
    this.activation = activationModule(section.activation);
  }

  override forward(x: Tensor): Tensor {
    const y = this.conv.forward(x);
    const normed = this.norm?.forward(y) ?? y;
    return this.activation?.forward(normed) ?? normed;
  }

  override convolutionChains(): readonly ConvolutionChain[] {
    const norm = this.norm ? "norm" : undefined;
    const activation = this.activation ? "activation" : undefined;
    return norm || activation ? [{ convolution: "conv", norm, activation }] : [];
  }
}

/** Every input to every output, then norm and activation: `[N, C, H, W]` to `[N, output, 1, 1]`. */
export class ConnectedLayer extends Module {
  readonly linear: Linear;
  readonly norm: BatchNorm2d | null;
  readonly activation: Module | null;

  constructor(plan: LayerPlan<SectionOf<"connected">>, normOptions: NormOptions) {
    super();
    const { section, inputShapes } = plan;
    const [[channels, height, width]] = inputShapes;
    const normed = section.batch_normalize === 1;
    this.linear = new Linear(channels * height * width, section.output, { bias: !normed });
    this.norm = normed ? new BatchNorm2d(section.output, normOptions) : null;
    this.activation = activationModule(section.activation);
  }

  override forward(x: Tensor): Tensor {
    const y = this.linear.forward(flatten(x, 1));
    const map = reshape(y, [...y.shape, 1, 1]);
    const normed = this.norm?.forward(map) ?? map;
    return this.activation?.forward(normed) ?? normed;
  }
}
