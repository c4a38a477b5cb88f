/** Stochastic gradient descent. */
import type { Assignment } from "../../autograd/index.ts";
import { add, input, mul, parameter as number, sub } from "../../backends/expression.ts";
import { refuseRecording } from "../../tensor/recordStep.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Parameter } from "../parameter.ts";
import { checkSetting, Optimizer } from "./optimizer.ts";

export interface SGDOptions {
  readonly lr: number;
  /** Default 0. */
  readonly momentum?: number;
  /** Damps what the gradient adds to the momentum; default 0. */
  readonly dampening?: number;
  /** L2 penalty, added to the gradient; default 0. */
  readonly weightDecay?: number;
  /** Look one step ahead along the momentum; default false. */
  readonly nesterov?: boolean;
}

const [value, gradient, velocity] = [input(0), input(1), input(2)];
const [lr, weightDecay, momentum, keep] = [number(0), number(1), number(2), number(3)];

/** g = gradient + weightDecay · value */
const decayed = add(gradient, mul(weightDecay, value));
/** v = momentum · v + (1 − dampening) · g */
const nextVelocity = add(mul(momentum, velocity), mul(keep, decayed));

/** Rows are [value, gradient] or, with momentum, [value, gradient, velocity]. */
const plainStep: readonly Assignment[] = [{ target: 0, expression: sub(value, mul(lr, decayed)) }];
const accelerate: Assignment = { target: 2, expression: nextVelocity };
const momentumStep: readonly Assignment[] = [
  accelerate,
  { target: 0, expression: sub(value, mul(lr, velocity)) },
];
const nesterovStep: readonly Assignment[] = [
  accelerate,
  { target: 0, expression: sub(value, mul(lr, add(decayed, mul(momentum, velocity)))) },
];

/** SGD as PyTorch defines it, with momentum, Nesterov momentum, dampening and weight decay. */
export class SGD extends Optimizer {
  readonly options: Required<SGDOptions>;
  readonly #step: readonly Assignment[];

  /** Throws when a setting is out of range, or Nesterov is asked for without momentum or with dampening. */
  constructor(parameters: Iterable<Parameter>, options: SGDOptions) {
    super(parameters, options.lr);
    this.options = { momentum: 0, dampening: 0, weightDecay: 0, nesterov: false, ...options };
    checkSetting("SGD", "momentum", this.options.momentum, 0);
    checkSetting("SGD", "dampening", this.options.dampening, 0);
    checkSetting("SGD", "weightDecay", this.options.weightDecay, 0);
    if (this.options.nesterov && (this.options.momentum === 0 || this.options.dampening !== 0))
      throw new Error("SGD: nesterov needs momentum > 0 and dampening 0");
    this.#step =
      this.options.momentum === 0 ? plainStep : this.options.nesterov ? nesterovStep : momentumStep;
  }

  protected override update(parameter: Parameter, grad: Tensor): void {
    const { momentum: inertia, dampening, weightDecay: decay } = this.options;
    const started = this.stepsOf(parameter) > 0;
    const settings = [this.lr, decay, inertia, started ? 1 - dampening : 1];
    if (inertia === 0) {
      this.assignTogether([parameter, grad], this.#step, settings);
      return;
    }
    // The first velocity is the gradient itself, undamped; the state starts at zero, so only the factor differs.
    if (dampening > 0 && !started)
      refuseRecording("SGD", "its first step is not dampened; take one step before recordStep()");
    const speed = this.state("velocity", parameter);
    this.assignTogether([parameter, grad, speed], this.#step, settings);
  }
}
