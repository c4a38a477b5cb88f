/** Adam and AdamW. */
import type { Assignment } from "../../autograd/index.ts";
import {
  add,
  div,
  type Expression,
  input,
  mul,
  parameter as number,
  sqrt,
  sub,
} from "../../backends/expression.ts";
import { refuseRecording } from "../../tensor/recordStep.ts";
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

const [value, gradient, average, averageOfSquares] = [input(0), input(1), input(2), input(3)];
const [beta1, beta2, stepSize, correction, eps, decay, keep] = [0, 1, 2, 3, 4, 5, 6].map(number);

/** β · average + (1 − β) · new */
const follow = (beta: Expression, old: Expression, next: Expression): Expression =>
  add(mul(beta, old), mul(sub(1, beta), next));

/** Rows are [value, gradient, m, v]. */
const updates = (gradient: Expression): readonly Assignment[] => [
  { target: 2, expression: follow(beta1, average, gradient) },
  { target: 3, expression: follow(beta2, averageOfSquares, mul(gradient, gradient)) },
  /** value − stepSize · m / (√v / √correction + ε) */
  {
    target: 0,
    expression: sub(value, div(mul(stepSize, average), add(div(sqrt(averageOfSquares), correction), eps))),
  },
];
const plainStep = updates(gradient);
/** g + decay · value in place of g. The value is the last to change. */
const penalisedStep = updates(add(gradient, mul(decay, value)));
const shrinkingStep = [{ target: 0, expression: mul(value, keep) }, ...plainStep];

/** Kingma & Ba 2015, as PyTorch computes it: the weight decay is an L2 penalty. */
export class Adam extends Optimizer {
  readonly options: Required<AdamOptions>;
  /** AdamW takes the decay off the value instead of adding it to the gradient. */
  protected readonly decoupled: boolean = false;

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
    const { betas, eps, weightDecay } = this.options;
    refuseRecording(
      this.constructor.name,
      "its step size depends on the number of steps; use SGD, or do not record",
    );
    const count = this.stepsOf(parameter) + 1;
    const averages = [this.state("average", parameter), this.state("averageOfSquares", parameter)];
    const step = weightDecay === 0 ? plainStep : this.decoupled ? shrinkingStep : penalisedStep;
    this.assignTogether([parameter, grad, ...averages], step, [
      ...betas,
      this.lr / (1 - betas[0] ** count),
      Math.sqrt(1 - betas[1] ** count),
      eps,
      weightDecay,
      1 - this.lr * weightDecay,
    ]);
  }
}

/** Loshchilov & Hutter 2019: the decay acts on the value itself, not through the averages. */
export class AdamW extends Adam {
  protected override readonly decoupled = true;

  constructor(parameters: Iterable<Parameter>, options: AdamOptions = {}) {
    super(parameters, { weightDecay: 0.01, ...options });
  }
}
