/** Channel attention (Hu et al. 2018, "Squeeze-and-Excitation Networks"), for the SE variants and EfficientNet. */
import { globalAvgPool2d, mul } from "../autograd/index.ts";
import { Conv2d, Module, Sigmoid } from "../nn/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type ActivationName, activationLayer } from "./convNormActivation.ts";

/**
 * x · sigmoid(fc2(activation(fc1(mean of each channel)))), `[N, channels, H, W]` to the same shape; fc1 and fc2 are 1x1
 * convolutions with bias, by torchvision's names.
 */
export class SqueezeExcitation extends Module {
  readonly fc1: Conv2d;
  readonly activation: Module;
  readonly fc2: Conv2d;
  readonly gate = new Sigmoid();

  constructor(
    channels: number,
    squeezeChannels: number,
    { activation = "relu" }: { readonly activation?: ActivationName } = {},
  ) {
    super();
    this.fc1 = new Conv2d(channels, squeezeChannels, 1);
    this.activation = activationLayer(activation);
    this.fc2 = new Conv2d(squeezeChannels, channels, 1);
  }

  override forward(x: Tensor): Tensor {
    const squeezed = this.activation.forward(this.fc1.forward(globalAvgPool2d(x)));
    return mul(x, this.gate.forward(this.fc2.forward(squeezed)));
  }
}
