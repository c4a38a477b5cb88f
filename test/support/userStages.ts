/** Blocks that a user might write and put into a stage: the instrument has to read them without knowing them. */
import { add, concat, mul, sigmoid } from "../../src/autograd/index.ts";
import { type CspStage, csp, type Fusion, Transition } from "../../src/models/index.ts";
import { BatchNorm2d, Conv2d, GlobalAvgPool2d, Module, ReLU, Sequential } from "../../src/nn/index.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";

/** 3x3 convolution, BN, ReLU: norm and activation stand behind the layer that they belong to. */
export function convNormRelu(inChannels: number, outChannels: number): Sequential {
  return new Sequential({
    conv: new Conv2d(inChannels, outChannels, 3, { padding: 1, bias: false }),
    norm: new BatchNorm2d(outChannels),
    relu: new ReLU(),
  });
}

/** x + F(x), F of two layers, ReLU behind the sum (He et al. 2016). */
export class ResidualBlock extends Module {
  readonly first: Sequential;
  readonly second: Conv2d;
  readonly norm: BatchNorm2d;
  readonly relu = new ReLU();

  constructor(channels: number) {
    super();
    this.first = convNormRelu(channels, channels);
    this.second = new Conv2d(channels, channels, 3, { padding: 1, bias: false });
    this.norm = new BatchNorm2d(channels);
  }

  override forward(x: Tensor): Tensor {
    return this.relu.forward(add(x, this.norm.forward(this.second.forward(this.first.forward(x)))));
  }
}

/** A projection beside the branch where the width changes: P(x) + F(x). */
export class ProjectionBlock extends Module {
  readonly branch: Sequential;
  readonly projection: Conv2d;

  constructor(inChannels: number, outChannels: number) {
    super();
    this.branch = convNormRelu(inChannels, outChannels);
    this.projection = new Conv2d(inChannels, outChannels, 1);
  }

  override forward(x: Tensor): Tensor {
    return add(this.branch.forward(x), this.projection.forward(x));
  }
}

/** x times a gate that it computes from its own channel means (Hu et al. 2018). */
export class SqueezeExcitation extends Module {
  readonly pool = new GlobalAvgPool2d();
  readonly squeeze: Conv2d;
  readonly relu = new ReLU();
  readonly excite: Conv2d;

  constructor(channels: number) {
    super();
    this.squeeze = new Conv2d(channels, 2, 1);
    this.excite = new Conv2d(2, channels, 1);
  }

  override forward(x: Tensor): Tensor {
    const narrow = this.relu.forward(this.squeeze.forward(this.pool.forward(x)));
    return mul(x, sigmoid(this.excite.forward(narrow)));
  }
}

/** Dense layers of convolution, BN, ReLU, in this order. */
export class PostActivationDense extends Module {
  readonly layers: Sequential[];

  constructor(inChannels: number, growthRate: number, count: number) {
    super();
    this.layers = Array.from({ length: count }, (_, i) =>
      convNormRelu(inChannels + i * growthRate, growthRate),
    );
  }

  override forward(x: Tensor): Tensor {
    const features = [x];
    for (const layer of this.layers) features.push(layer.forward(concat(features, 1)));
    return concat(features, 1);
  }
}

/** Modules one after the other, of a known width. */
export class Chain extends Module {
  readonly outChannels: number;
  readonly links: Module[];

  constructor(links: Module[], outChannels: number) {
    super();
    this.links = links;
    this.outChannels = outChannels;
  }

  override forward(x: Tensor): Tensor {
    return this.links.reduce((value, link) => link.forward(value), x);
  }
}

/** A cross-stage-partial stage of 8 channels around any block, with DenseNet's transitions. */
export function cspAround(
  block: (channels: number) => { links: Module[]; outChannels: number },
  fusion: Fusion = "both",
): CspStage {
  return csp(
    {
      inChannels: 8,
      block(channels) {
        const { links, outChannels } = block(channels);
        return new Chain(links, outChannels);
      },
      transition: (inChannels, outChannels) => new Transition(inChannels, outChannels),
    },
    { fusion },
  );
}
