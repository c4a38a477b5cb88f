/** Darknet's activation functions (activations.h) as modules. */
import * as ops from "../../autograd/index.ts";
import { LeakyReLU, Mish, Module, ReLU, ReLU6, Sigmoid, SiLU, Tanh } from "../../nn/index.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { ActivationName } from "./activationNames.ts";

/** exp(x) - 1 where x < 0, else 0: no overflow for large x. */
const negativeExponential = (x: Tensor) => ops.sub(ops.exp(ops.minimum(x, 0)), 1);

/** Those that no other framework names. */
const formulas = {
  /** 2 / (1 + exp(-x)) - 1 */
  loggy: (x: Tensor) => ops.sub(ops.mul(ops.sigmoid(x), 2), 1),
  /** relu(x) + x / 10 */
  ramp: (x: Tensor) => ops.add(ops.relu(x), ops.mul(x, 0.1)),
  elu: (x: Tensor) => ops.add(ops.relu(x), negativeExponential(x)),
  selu: (x: Tensor) =>
    ops.add(ops.mul(ops.relu(x), 1.0507), ops.mul(negativeExponential(x), 1.0507 * 1.6732)),
  hardtan: (x: Tensor) => ops.hardTanh(x),
  /** x where x > 0, x²/2 + x where -2 < x <= 0, else 0 */
  hard_mish: (x: Tensor) => {
    const low = ops.clamp(x, -2, 0);
    return ops.add(ops.relu(x), ops.add(ops.mul(ops.square(low), 0.5), low));
  },
} as const;

/** One of Darknet's own activation functions. */
class DarknetActivation extends Module {
  readonly name: keyof typeof formulas;

  constructor(name: keyof typeof formulas) {
    super();
    this.name = name;
  }

  override forward(x: Tensor): Tensor {
    return formulas[this.name](x);
  }

  override describe(): string {
    return this.name;
  }
}

/** The module that computes an activation; `null` for "linear". */
export function activationModule(name: ActivationName): Module | null {
  switch (name) {
    case "linear":
      return null;
    case "relu":
      return new ReLU();
    case "relu6":
      return new ReLU6();
    case "leaky":
      return new LeakyReLU(0.1);
    case "relie":
      return new LeakyReLU(0.01);
    case "logistic":
      return new Sigmoid();
    case "tanh":
      return new Tanh();
    case "swish":
      return new SiLU();
    case "mish":
      return new Mish();
    default:
      return new DarknetActivation(name);
  }
}
