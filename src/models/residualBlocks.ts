/**
 * The blocks of residual networks (He et al. 2016) by torchvision's names, and the two shortcuts that there are where a
 * block changes the shape: torchvision's projection, and Darknet's, which has no weights.
 */
import { add, pad, reshape, select, slice } from "../autograd/index.ts";
import { BatchNorm2d, Conv2d, type ConvolutionChain, Module, Sequential } from "../nn/index.ts";
import { formatShape } from "../tensor/layout.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type ActivationName, activationLayer } from "./convNormActivation.ts";

/** Every `stride`-th row and column from the first, `[N, C, H, W]` to `[N, C, ceil(H / stride), ceil(W / stride)]`. */
function subsample(x: Tensor, stride: number): Tensor {
  if (stride === 1) return x;
  const [N, C, H, W] = x.shape;
  const [rows, columns] = [Math.ceil(H / stride), Math.ceil(W / stride)];
  const none = [0, 0] as const;
  const whole = pad(x, [none, none, [0, rows * stride - H], [0, columns * stride - W]]);
  const cells = reshape(whole, [N, C, rows, stride, columns, stride]);
  return select(select(cells, 5, 0), 3, 0);
}

/**
 * Darknet's shortcut of November 2019: y + x over the channels that both have, where x may be a larger map, of which
 * every second pixel is taken then. The first half of a ResNet's channels goes around a block that doubles them, and
 * nothing is learnt (He et al. 2016, option A); in a CSP stage it makes the first block a partial residual.
 */
export class PartialShortcut extends Module {
  /** y `[N, C, H, W]`, x `[N, C', H', W']` to y's shape. Throws when x is smaller, or not a multiple of it. */
  override forward(y: Tensor, x: Tensor): Tensor {
    const [, channels, height, width] = y.shape;
    const stride = Math.ceil(x.shape[2] / height);
    const fits = (extent: number, target: number) => Math.ceil(extent / stride) === target;
    if (stride < 1 || !fits(x.shape[2], height) || !fits(x.shape[3], width))
      throw new Error(
        `PartialShortcut: map ${formatShape(x.shape)} cannot be subsampled to ${formatShape(y.shape)}; ` +
          "its sides must be the same number of times larger",
      );
    const taken = Math.min(channels, x.shape[1]);
    const first = slice(subsample(x, stride), 1, 0, taken);
    const none = [0, 0] as const;
    return add(y, pad(first, [none, [0, channels - taken], none, none]));
  }
}

export interface ResidualBlockOptions {
  readonly inChannels: number;
  /** Channels of the convolutions between the first and the last. */
  readonly width: number;
  readonly outChannels: number;
  /** Of the first 3x3 convolution. Default 1. */
  readonly stride?: number;
  /** Of the 3x3 convolutions. Default 1. */
  readonly groups?: number;
  readonly activation: ActivationName;
  /** What goes around a block that changes the shape: a 1x1 convolution with a norm, or Darknet's shortcut. */
  readonly shortcut: "projection" | "partial";
}

/** What goes around a block: its input (null), a projection of it, or Darknet's shortcut. */
export type Shortcut = Sequential | PartialShortcut | null;

/** The shortcut that a block needs. */
export function shortcutFor({
  inChannels,
  outChannels,
  stride = 1,
  shortcut,
}: ResidualBlockOptions): Shortcut {
  if (stride === 1 && inChannels === outChannels) return null;
  if (shortcut === "partial") return new PartialShortcut();
  const projection = new Conv2d(inChannels, outChannels, 1, { stride, bias: false });
  return new Sequential(projection, new BatchNorm2d(outChannels));
}

/** What a block made of x, y, plus what went around it. */
export function addShortcut(y: Tensor, x: Tensor, shortcut: Shortcut): Tensor {
  if (shortcut instanceof PartialShortcut) return shortcut.forward(y, x);
  return add(y, shortcut ? shortcut.forward(x) : x);
}

/** Two 3x3 convolutions, the first of which has the stride: `[N, inChannels, H, W]` to `[N, outChannels, P, Q]`. */
export class BasicBlock extends Module {
  readonly outChannels: number;
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm2d;
  readonly activation1: Module;
  readonly conv2: Conv2d;
  readonly bn2: BatchNorm2d;
  readonly activation2: Module;
  readonly downsample: Shortcut;

  constructor(options: ResidualBlockOptions) {
    super();
    const { inChannels, width, outChannels, stride = 1, groups = 1, activation } = options;
    this.outChannels = outChannels;
    this.conv1 = new Conv2d(inChannels, width, 3, { stride, padding: 1, groups, bias: false });
    this.bn1 = new BatchNorm2d(width);
    this.activation1 = activationLayer(activation);
    this.conv2 = new Conv2d(width, outChannels, 3, { padding: 1, groups, bias: false });
    this.bn2 = new BatchNorm2d(outChannels);
    this.activation2 = activationLayer(activation);
    this.downsample = shortcutFor(options);
  }

  override forward(x: Tensor): Tensor {
    const middle = this.activation1.forward(this.bn1.forward(this.conv1.forward(x)));
    const y = this.bn2.forward(this.conv2.forward(middle));
    return this.activation2.forward(addShortcut(y, x, this.downsample));
  }

  override convolutionChains(): readonly ConvolutionChain[] {
    return [
      { convolution: "conv1", norm: "bn1", activation: "activation1" },
      { convolution: "conv2", norm: "bn2" },
    ];
  }
}

/** 1x1, 3x3 with stride and groups, 1x1 convolution: `[N, inChannels, H, W]` to `[N, outChannels, P, Q]`. */
export class Bottleneck extends Module {
  readonly outChannels: number;
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm2d;
  readonly activation1: Module;
  readonly conv2: Conv2d;
  readonly bn2: BatchNorm2d;
  readonly activation2: Module;
  readonly conv3: Conv2d;
  readonly bn3: BatchNorm2d;
  readonly activation3: Module;
  readonly downsample: Shortcut;

  constructor(options: ResidualBlockOptions) {
    super();
    const { inChannels, width, outChannels, stride = 1, groups = 1, activation } = options;
    this.outChannels = outChannels;
    this.conv1 = new Conv2d(inChannels, width, 1, { bias: false });
    this.bn1 = new BatchNorm2d(width);
    this.activation1 = activationLayer(activation);
    this.conv2 = new Conv2d(width, width, 3, { stride, padding: 1, groups, bias: false });
    this.bn2 = new BatchNorm2d(width);
    this.activation2 = activationLayer(activation);
    this.conv3 = new Conv2d(width, outChannels, 1, { bias: false });
    this.bn3 = new BatchNorm2d(outChannels);
    this.activation3 = activationLayer(activation);
    this.downsample = shortcutFor(options);
  }

  override forward(x: Tensor): Tensor {
    const narrow = this.activation1.forward(this.bn1.forward(this.conv1.forward(x)));
    const middle = this.activation2.forward(this.bn2.forward(this.conv2.forward(narrow)));
    const y = this.bn3.forward(this.conv3.forward(middle));
    return this.activation3.forward(addShortcut(y, x, this.downsample));
  }

  override convolutionChains(): readonly ConvolutionChain[] {
    return [
      { convolution: "conv1", norm: "bn1", activation: "activation1" },
      { convolution: "conv2", norm: "bn2", activation: "activation2" },
      { convolution: "conv3", norm: "bn3" },
    ];
  }
}
