/**
 * The parts that DenseNet and its cross-stage-partial form are made of (Huang et al. 2017, "DenseNet-BC"; the
 * CSPNet paper's equation (1)).
 */
import { AvgPool2d, BatchNorm2d, Conv2d, Dropout, Module, preActivated } from "../nn/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type ActivationName, activationLayer } from "./convNormActivation.ts";
import { GrowingBlock } from "./growingBlock.ts";

export interface DenseLayerOptions {
  /** Channels that each layer adds, the paper's d. */
  readonly growthRate: number;
  /** The 1x1 convolution reduces its input to bottleneckWidth · growthRate channels. Default 4. */
  readonly bottleneckWidth?: number;
  /** Probability of dropping an output element in training. Default 0. */
  readonly dropout?: number;
  /** Default "relu", as in both papers. */
  readonly activation?: ActivationName;
}

/** BN - activation - 1x1 convolution - BN - activation - 3x3 convolution: `[N, inChannels, H, W]` to `[N, growthRate, H, W]`. */
export class DenseLayer extends Module {
  readonly norm1: BatchNorm2d;
  readonly relu1: Module;
  readonly conv1: Conv2d;
  readonly norm2: BatchNorm2d;
  readonly relu2: Module;
  readonly conv2: Conv2d;
  readonly dropout: Dropout | null;

  constructor(inChannels: number, options: DenseLayerOptions) {
    super();
    const { growthRate, bottleneckWidth = 4, dropout = 0, activation = "relu" } = options;
    const width = bottleneckWidth * growthRate;
    this.norm1 = new BatchNorm2d(inChannels);
    this.relu1 = activationLayer(activation);
    this.conv1 = new Conv2d(inChannels, width, 1, { bias: false });
    this.norm2 = new BatchNorm2d(width);
    this.relu2 = activationLayer(activation);
    this.conv2 = new Conv2d(width, growthRate, 3, { padding: 1, bias: false });
    this.dropout = dropout > 0 ? new Dropout(dropout) : null;
  }

  override forward(x: Tensor): Tensor {
    const narrow = preActivated(x, { norm: this.norm1, activation: this.relu1, conv: this.conv1 });
    const grown = preActivated(narrow, { norm: this.norm2, activation: this.relu2, conv: this.conv2 });
    return this.dropout ? this.dropout.forward(grown) : grown;
  }
}

/** k dense layers, each reading the concatenation [x0, x1, …] of all before it; the output is all of them. */
export class DenseBlock extends GrowingBlock {
  constructor(layers: number, inChannels: number, options: DenseLayerOptions) {
    const { growthRate } = options;
    super({ layers, inChannels, growthRate, layer: (channels) => new DenseLayer(channels, options) });
  }
}

export interface TransitionOptions {
  /** Whether the resolution halves. Default false. */
  readonly pool?: boolean;
  /** Default "relu". */
  readonly activation?: ActivationName;
}

/** BN - activation - 1x1 convolution, and a 2x2 average pool where the resolution halves. */
export class Transition extends Module {
  readonly norm: BatchNorm2d;
  readonly relu: Module;
  readonly conv: Conv2d;
  readonly pool: AvgPool2d | null;

  constructor(
    inChannels: number,
    outChannels: number,
    { pool = false, activation = "relu" }: TransitionOptions = {},
  ) {
    super();
    this.norm = new BatchNorm2d(inChannels);
    this.relu = activationLayer(activation);
    this.conv = new Conv2d(inChannels, outChannels, 1, { bias: false });
    this.pool = pool ? new AvgPool2d(2) : null;
  }

  override forward(x: Tensor): Tensor {
    const mixed = preActivated(x, { norm: this.norm, activation: this.relu, conv: this.conv });
    return this.pool ? this.pool.forward(mixed) : mixed;
  }
}
