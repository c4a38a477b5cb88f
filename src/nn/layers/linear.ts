/** The fully connected layer. */
import { add, matmul, transpose } from "../../autograd/index.ts";
import { zeros } from "../../tensor/create.ts";
import { formatShape } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { kaimingUniform, uniform } from "../init.ts";
import { Module } from "../module.ts";
import { Parameter } from "../parameter.ts";

/** y = x · weightᵀ + bias, `[…, inFeatures]` to `[…, outFeatures]`; weight `[outFeatures, inFeatures]`. */
export class Linear extends Module {
  readonly inFeatures: number;
  readonly outFeatures: number;
  weight: Parameter;
  bias: Parameter | null;

  constructor(inFeatures: number, outFeatures: number, { bias = true }: { readonly bias?: boolean } = {}) {
    super();
    for (const [what, value] of Object.entries({ inFeatures, outFeatures }))
      if (!Number.isInteger(value) || value < 1)
        throw new Error(`Linear: ${what} ${value} must be a positive integer`);
    this.inFeatures = inFeatures;
    this.outFeatures = outFeatures;
    this.weight = new Parameter(zeros([outFeatures, inFeatures]));
    this.bias = bias ? new Parameter(zeros([outFeatures])) : null;
    this.resetParameters();
  }

  /** PyTorch's initial values: uniform in ±√(1 / inFeatures). */
  resetParameters(): void {
    kaimingUniform(this.weight);
    const bound = 1 / Math.sqrt(this.inFeatures);
    if (this.bias) uniform(this.bias, -bound, bound);
  }

  /** Throws when the last axis of `x` is not `inFeatures` long. */
  override forward(x: Tensor): Tensor {
    if (x.shape.at(-1) !== this.inFeatures)
      throw new Error(
        `Linear: input ${formatShape(x.shape)} must have ${this.inFeatures} features in its last axis; flatten it first?`,
      );
    const product = matmul(x, transpose(this.weight));
    return this.bias ? add(product, this.bias) : product;
  }

  override describe(): string {
    return `inFeatures=${this.inFeatures}, outFeatures=${this.outFeatures}${this.bias ? "" : ", bias=false"}`;
  }
}
