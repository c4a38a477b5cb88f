/** The block of Res2Net (Gao et al. 2019, arXiv 1904.01169, figure 2 b) and Res2NeXt, by timm's names. */
import { add, concat, split } from "../autograd/index.ts";
import { AvgPool2d, BatchNorm2d, Conv2d, type ConvolutionChain, Module } from "../nn/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { activationLayer } from "./convNormActivation.ts";
import { addShortcut, type ResidualBlockOptions, type Shortcut, shortcutFor } from "./residualBlocks.ts";

export interface Res2NetBlockOptions extends ResidualBlockOptions {
  /** Into how many groups of `width` channels the first convolution's output is split, at least 2. */
  readonly scale: number;
}

/**
 * A bottleneck whose 3x3 convolution became a chain: the groups x1 … xs after the first 1x1 convolution give
 * y1 = K1(x1), yi = Ki(xi + y(i-1)), and ys = xs without a convolution. The first block of a stage, which changes the
 * shape, does not add y(i-1), and pools xs. `[N, inChannels, H, W]` to `[N, outChannels, P, Q]`.
 */
export class Res2NetBlock extends Module {
  readonly outChannels: number;
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm2d;
  readonly activation1: Module;
  readonly convs: readonly Conv2d[];
  readonly bns: readonly BatchNorm2d[];
  readonly activations: readonly Module[];
  readonly pool: AvgPool2d | null;
  readonly conv3: Conv2d;
  readonly bn3: BatchNorm2d;
  readonly activation3: Module;
  readonly downsample: Shortcut;

  /** Throws when the scale is no integer from 2 on: with 1 it is a plain bottleneck. */
  constructor(options: Res2NetBlockOptions) {
    super();
    const { inChannels, width, outChannels, stride = 1, groups = 1, activation, scale } = options;
    if (!Number.isInteger(scale) || scale < 2)
      throw new Error(`Res2NetBlock: scale ${scale} must be an integer from 2 on`);
    this.outChannels = outChannels;
    this.conv1 = new Conv2d(inChannels, width * scale, 1, { bias: false });
    this.bn1 = new BatchNorm2d(width * scale);
    this.activation1 = activationLayer(activation);
    const each = Array.from({ length: scale - 1 });
    this.convs = each.map(() => new Conv2d(width, width, 3, { stride, padding: 1, groups, bias: false }));
    this.bns = each.map(() => new BatchNorm2d(width));
    this.activations = each.map(() => activationLayer(activation));
    this.downsample = shortcutFor(options);
    this.pool = this.downsample ? new AvgPool2d(3, { stride, padding: 1 }) : null;
    this.conv3 = new Conv2d(width * scale, outChannels, 1, { bias: false });
    this.bn3 = new BatchNorm2d(outChannels);
    this.activation3 = activationLayer(activation);
  }

  override forward(x: Tensor): Tensor {
    const wide = this.activation1.forward(this.bn1.forward(this.conv1.forward(x)));
    const groups = split(wide, this.convs.length + 1, 1);
    const outputs: Tensor[] = [];
    this.convs.forEach((conv, i) => {
      const input = i === 0 || this.pool ? groups[i] : add(outputs[i - 1], groups[i]);
      outputs.push(this.activations[i].forward(this.bns[i].forward(conv.forward(input))));
    });
    const last = groups[this.convs.length];
    outputs.push(this.pool ? this.pool.forward(last) : last);
    const y = this.bn3.forward(this.conv3.forward(concat(outputs, 1)));
    return this.activation3.forward(addShortcut(y, x, this.downsample));
  }

  override convolutionChains(): readonly ConvolutionChain[] {
    return [
      { convolution: "conv1", norm: "bn1", activation: "activation1" },
      ...this.convs.map((_, i) => ({
        convolution: `convs.${i}`,
        norm: `bns.${i}`,
        activation: `activations.${i}`,
      })),
      { convolution: "conv3", norm: "bn3" },
    ];
  }
}
