/** Activation functions as layers. */
import * as ops from "../../autograd/index.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { Module } from "../module.ts";

/** max(x, 0) */
export class ReLU extends Module {
  override forward(x: Tensor): Tensor {
    return ops.relu(x);
  }
}

/** x where x > 0, else negativeSlope · x */
export class LeakyReLU extends Module {
  readonly negativeSlope: number;

  constructor(negativeSlope = 0.01) {
    super();
    this.negativeSlope = negativeSlope;
  }

  override forward(x: Tensor): Tensor {
    return ops.leakyRelu(x, this.negativeSlope);
  }

  override describe(): string {
    return `negativeSlope=${this.negativeSlope}`;
  }
}

/** x limited to [0, 6] */
export class ReLU6 extends Module {
  override forward(x: Tensor): Tensor {
    return ops.relu6(x);
  }
}

/** 1 / (1 + exp(-x)) */
export class Sigmoid extends Module {
  override forward(x: Tensor): Tensor {
    return ops.sigmoid(x);
  }
}

/** Hyperbolic tangent */
export class Tanh extends Module {
  override forward(x: Tensor): Tensor {
    return ops.tanh(x);
  }
}

/** x · sigmoid(x), also called swish */
export class SiLU extends Module {
  override forward(x: Tensor): Tensor {
    return ops.silu(x);
  }
}

/** x · tanh(softplus(x)) */
export class Mish extends Module {
  override forward(x: Tensor): Tensor {
    return ops.mish(x);
  }
}

/** x/6 + 1/2 limited to [0, 1] */
export class HardSigmoid extends Module {
  override forward(x: Tensor): Tensor {
    return ops.hardSigmoid(x);
  }
}

/** x · hardSigmoid(x) */
export class HardSwish extends Module {
  override forward(x: Tensor): Tensor {
    return ops.hardSwish(x);
  }
}
