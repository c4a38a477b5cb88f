/** Squeeze and excitation (Hu et al. 2018): every channel scaled by what the whole image says about it. */
import { globalAvgPool2d, mul } from "../../autograd/index.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { Module } from "../module.ts";
import { ReLU, Sigmoid } from "./activations.ts";
import { Conv2d } from "./conv2d.ts";

export interface SqueezeExcitationOptions {
  /** Makes the activation between the two convolutions. Default ReLU; EfficientNet has SiLU. */
  readonly activation?: () => Module;
  /** Makes what turns the result into scales. Default Sigmoid. */
  readonly gate?: () => Module;
}

/**
 * x · gate(fc2(activation(fc1(mean of x per channel)))): `[N, channels, H, W]` to the same shape. fc1 and fc2 are 1x1
 * convolutions with biases, named as in torchvision.
 */
export class SqueezeExcitation extends Module {
  readonly fc1: Conv2d;
  readonly activation: Module;
  readonly fc2: Conv2d;
  readonly gate: Module;

  /** Throws when a number of channels is no positive integer. */
  constructor(
    channels: number,
    squeezeChannels: number,
    { activation = () => new ReLU(), gate = () => new Sigmoid() }: SqueezeExcitationOptions = {},
  ) {
    super();
    for (const [what, value] of Object.entries({ channels, squeezeChannels }))
      if (!Number.isInteger(value) || value < 1)
        throw new Error(`SqueezeExcitation: ${what} ${value} must be a positive integer`);
    this.fc1 = new Conv2d(channels, squeezeChannels, 1);
    this.activation = activation();
    this.fc2 = new Conv2d(squeezeChannels, channels, 1);
    this.gate = gate();
  }

  override forward(x: Tensor): Tensor {
    const squeezed = this.activation.forward(this.fc1.forward(globalAvgPool2d(x)));
    return mul(x, this.gate.forward(this.fc2.forward(squeezed)));
  }
}
