/** Adam and AdamW. */
import { assign } from "../../autograd/index.ts";
import { add, div, input, mul, parameter as number, sqrt, sub } from "../../backends/expression.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Parameter } from "../parameter.ts";
import { checkSetting, Optimizer } from "./optimizer.ts";

export interface AdamOptions {
  /** Default 0.001. */
  readonly lr?: number;
  /** Decay of the averages of the gradient and of its square; default [0.9, 0.999]. */
  readonly betas?: readonly [number, number];
  /** Default 1e-8. */
  readonly eps?: number;
  /** Adam: L2 penalty added to the gradient. AdamW: share of the value taken off. Default 0, AdamW 0.01. */
  readonly weightDecay?: number;
}

const [old, next, second] = [input(0), input(1), input(2)];
const beta = number(0);
/** m = β · m + (1 − β) · g */
const average = add(mul(beta, old), mul(sub(1, beta), next));
/** v = β · v + (1 − β) · g² */
const averageOfSquares = add(mul(beta, old), mul(sub(1, beta), mul(next, next)));
/** g + decay · value */
const penalised = add(next, mul(number(0), old));
const shrunk = mul(old, number(0));
/** value − stepSize · m / (√v / √correction + ε) */
const stepped = sub(old, div(mul(number(0), next), add(div(sqrt(second), number(1)), number(2))));

/** Kingma & Ba 2015, as PyTorch computes it: the weight decay is an L2 penalty. */
export class Adam extends Optimizer {
  readonly options: Required<AdamOptions>;
  /** AdamW takes the decay off the value instead of adding it to the gradient. */
  protected readonly decoupled: boolean = false;
  #steps = new Map<Parameter, number>();

  /** Throws when a setting is out of range. */
  constructor(parameters: Iterable<Parameter>, options: AdamOptions = {}) {
    super(parameters, options.lr ?? 0.001);
    this.options = { lr: 0.001, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0, ...options };
    const name = this.constructor.name;
    for (const [i, value] of this.options.betas.entries()) checkSetting(name, `betas[${i}]`, value, 0, 1);
    checkSetting(name, "eps", this.options.eps, 0);
    checkSetting(name, "weightDecay", this.options.weightDecay, 0);
  }

  protected override update(parameter: Parameter, grad: Tensor): void {
    const {
      betas: [beta1, beta2],
      eps,
      weightDecay,
    } = this.options;
    const count = (this.#steps.get(parameter) ?? 0) + 1;
    this.#steps.set(parameter, count);
    const first = this.state("average", parameter);
    const squares = this.state("averageOfSquares", parameter);
    let gradient = grad;
    if (weightDecay !== 0 && this.decoupled)
      assign(parameter, shrunk, [parameter], [1 - this.lr * weightDecay]);
    else if (weightDecay !== 0) {
      gradient = this.state("penalisedGradient", parameter);
      assign(gradient, penalised, [parameter, grad], [weightDecay]);
    }
    assign(first, average, [first, gradient], [beta1]);
    assign(squares, averageOfSquares, [squares, gradient], [beta2]);
    const stepSize = this.lr / (1 - beta1 ** count);
    assign(parameter, stepped, [parameter, first, squares], [stepSize, Math.sqrt(1 - beta2 ** count), eps]);
  }
}

/** Loshchilov & Hutter 2019: the decay acts on the value itself, not through the averages. */
export class AdamW extends Adam {
  protected override readonly decoupled = true;

  constructor(parameters: Iterable<Parameter>, options: AdamOptions = {}) {
    super(parameters, { weightDecay: 0.01, ...options });
  }
}
