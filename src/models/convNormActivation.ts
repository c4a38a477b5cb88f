/** The post-activated convolution that Darknet, PeleeNet and the ResNet families are made of, and its activations. */
import {
  BatchNorm2d,
  Conv2d,
  type ConvolutionChain,
  HardSwish,
  Identity,
  LeakyReLU,
  Mish,
  Module,
  ReLU,
  ReLU6,
  Sigmoid,
  SiLU,
} from "../nn/index.ts";
import type { Tensor } from "../tensor/tensor.ts";

const activations = {
  relu: () => new ReLU(),
  relu6: () => new ReLU6(),
  /** Darknet's slope. */
  leaky: () => new LeakyReLU(0.1),
  swish: () => new SiLU(),
  hardSwish: () => new HardSwish(),
  mish: () => new Mish(),
  logistic: () => new Sigmoid(),
  linear: () => new Identity(),
} as const;

/** Activations by the names of the paper and of Darknet; "leaky" has Darknet's slope 0.1, "linear" is none. */
export type ActivationName = keyof typeof activations;

/** The layer of that activation. Throws for names that are none. */
export function activationLayer(name: ActivationName): Module {
  if (!Object.hasOwn(activations, name))
    throw new Error(
      `activation "${name}" is not known; it must be one of ${Object.keys(activations).join(", ")}`,
    );
  return activations[name]();
}

export interface ConvNormActivationOptions {
  /** Default 1. */
  readonly kernelSize?: number;
  /** Default 1. */
  readonly stride?: number;
  /** Default 1. */
  readonly groups?: number;
  /** Default: what keeps the size at stride 1, (kernelSize − 1) / 2. */
  readonly padding?: number;
  /** Default "leaky", as in the paper's networks. */
  readonly activation?: ActivationName;
}

/** Convolution without bias - BN - activation: `[N, inChannels, H, W]` to `[N, outChannels, P, Q]`. */
export class ConvNormActivation extends Module {
  readonly outChannels: number;
  readonly conv: Conv2d;
  readonly norm: BatchNorm2d;
  readonly activation: Module;

  constructor(
    inChannels: number,
    outChannels: number,
    {
      kernelSize = 1,
      stride = 1,
      groups = 1,
      padding = Math.floor((kernelSize - 1) / 2),
      activation = "leaky",
    }: ConvNormActivationOptions = {},
  ) {
    super();
    this.outChannels = outChannels;
    this.conv = new Conv2d(inChannels, outChannels, kernelSize, { stride, padding, groups, bias: false });
    this.norm = new BatchNorm2d(outChannels);
    this.activation = activationLayer(activation);
  }

  override forward(x: Tensor): Tensor {
    return this.activation.forward(this.norm.forward(this.conv.forward(x)));
  }

  override convolutionChains(): readonly ConvolutionChain[] {
    return [{ convolution: "conv", norm: "norm", activation: "activation" }];
  }
}
