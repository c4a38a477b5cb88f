/**
 * The parts that DenseNet and its cross-stage-partial form are made of (Huang et al. 2017, "DenseNet-BC"; the
 * CSPNet paper's equation (1)).
 */
import { AvgPool2d, BatchNorm2d, Conv2d, Dropout, Module, preActivated, ReLU } from "../nn/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { GrowingBlock } from "./growingBlock.ts";

export interface DenseLayerOptions {
  /** Channels that each layer adds, the paper's d. */
  readonly growthRate: number;
  /** The 1x1 convolution reduces its input to bottleneckWidth · growthRate channels. Default 4. */
  readonly bottleneckWidth?: number;
  /** Probability of dropping an output element in training. Default 0. */
  readonly dropout?: number;
}

/** BN - ReLU - 1x1 convolution - BN - ReLU - 3x3 convolution: `[N, inChannels, H, W]` to `[N, growthRate, H, W]`. */
export class DenseLayer extends Module {
  readonly norm1: BatchNorm2d;
  readonly relu1 = new ReLU();
  readonly conv1: Conv2d;
  readonly norm2: BatchNorm2d;
  readonly relu2 = new ReLU();
  readonly conv2: Conv2d;
  readonly dropout: Dropout | null;

  constructor(inChannels: number, { growthRate, bottleneckWidth = 4, dropout = 0 }: DenseLayerOptions) {
    super();
    const width = bottleneckWidth * growthRate;
    this.norm1 = new BatchNorm2d(inChannels);
    this.conv1 = new Conv2d(inChannels, width, 1, { bias: false });
    this.norm2 = new BatchNorm2d(width);
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

/** BN - ReLU - 1x1 convolution, and a 2x2 average pool where the resolution halves. */
export class Transition extends Module {
  readonly norm: BatchNorm2d;
  readonly relu = new ReLU();
  readonly conv: Conv2d;
  readonly pool: AvgPool2d | null;

  constructor(inChannels: number, outChannels: number, { pool = false }: { readonly pool?: boolean } = {}) {
    super();
    this.norm = new BatchNorm2d(inChannels);
    this.conv = new Conv2d(inChannels, outChannels, 1, { bias: false });
    this.pool = pool ? new AvgPool2d(2) : null;
  }

  override forward(x: Tensor): Tensor {
    const mixed = preActivated(x, { norm: this.norm, activation: this.relu, conv: this.conv });
    return this.pool ? this.pool.forward(mixed) : mixed;
  }
}
