/** A trained convolution that has taken up the batch norm and the ReLU behind it. */
import { add, conv2d, conv2dRelu, div, mul, noGrad, reshape, sqrt, sub } from "../../autograd/index.ts";
import { formatShape } from "../../tensor/layout.ts";
import { scope } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { Module } from "../module.ts";
import type { BatchNorm2d } from "./batchNorm2d.ts";
import type { Conv2d } from "./conv2d.ts";

/** What the convolution takes up. */
interface FoldedInto {
  readonly norm: BatchNorm2d | null;
  readonly activation: boolean;
}

/** The norm's statistics are constants once training is over, so that with s = γ / √(variance + ε)
 *
 *     norm(x ∗ W + b) = x ∗ (s · W) + (β + s · (b − mean))
 */
function foldedWeights(conv: Conv2d, norm: BatchNorm2d | null): { weight: Tensor; bias: Tensor | null } {
  if (!norm) return { weight: conv.weight.detach(), bias: conv.bias?.detach() ?? null };
  const [mean, variance] = [norm.buffer("running_mean"), norm.buffer("running_var")];
  const scale = div(norm.weight, sqrt(add(variance, norm.eps)));
  const centred = conv.bias ? sub(conv.bias, mean) : mul(mean, -1);
  return {
    weight: mul(conv.weight, reshape(scale, [conv.outChannels, 1, 1, 1])),
    bias: add(norm.bias, mul(scale, centred)),
  };
}

/**
 * relu(norm(conv(x))) with constant weights, for evaluation only: weight and bias are buffers, which nothing trains.
 * Bias and ReLU are applied in one pass over the convolution's output. `foldForInference` makes these.
 */
export class FoldedConv2d extends Module {
  readonly activation: boolean;
  private readonly options: Conv2d["options"];
  private readonly biased: boolean;
  private readonly description: string;

  /** Throws when the norm has another number of channels than the convolution gives out. */
  constructor(conv: Conv2d, { norm, activation }: FoldedInto) {
    super();
    if (norm && norm.channels !== conv.outChannels)
      throw new Error(
        `FoldedConv2d: a norm of ${norm.channels} channels cannot follow weight ${formatShape(conv.weight.shape)}, ` +
          `which gives ${conv.outChannels}`,
      );
    const { weight, bias } = scope(() => noGrad(() => foldedWeights(conv, norm)));
    this.registerBuffer("weight", weight);
    if (bias) this.registerBuffer("bias", bias);
    this.activation = activation;
    this.options = conv.options;
    this.biased = bias !== null;
    this.description = [conv.describe(), ...(norm ? ["norm"] : []), ...(activation ? ["relu"] : [])].join(
      ", ",
    );
    this.training = false;
  }

  /** Throws in training mode: the norm's statistics are constants here. */
  override forward(x: Tensor): Tensor {
    if (this.training)
      throw new Error(
        "FoldedConv2d: is for evaluation only, its batch norm's statistics are constants in its weight; " +
          "call eval(), or train the model that was folded and fold it anew",
      );
    const { stride, padding, dilation, groups } = this.options;
    const window = { stride, padding, dilation, groups };
    const options = this.biased ? { ...window, bias: this.buffer("bias") } : window;
    return (this.activation ? conv2dRelu : conv2d)(x, this.buffer("weight"), options);
  }

  override describe(): string {
    return this.description;
  }
}
