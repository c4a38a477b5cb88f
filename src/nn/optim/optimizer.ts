/** What all optimizers share: the parameters, the learning rate, and state that lives as long as the optimizer. */
import { clearGrad } from "../../autograd/index.ts";
import { zerosLike } from "../../tensor/create.ts";
import { outsideScopes, scope } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Parameter } from "../parameter.ts";

/** Throws unless `value` is finite and at least `low`. */
export function checkSetting(
  optimizer: string,
  setting: string,
  value: number,
  low: number,
  below = Infinity,
): void {
  if (!(value >= low && value < below) || !Number.isFinite(value)) {
    const range = below === Infinity ? `a finite number >= ${low}` : `a number in [${low}, ${below})`;
    throw new Error(`${optimizer}: ${setting} ${value} must be ${range}`);
  }
}

export abstract class Optimizer {
  readonly parameters: readonly Parameter[];
  /** The learning rate of the next step; schedules set it. */
  lr: number;
  readonly #state = new Map<string, Map<Parameter, Tensor>>();

  constructor(parameters: Iterable<Parameter>, lr: number) {
    this.parameters = [...parameters];
    if (this.parameters.length === 0)
      throw new Error(`${this.constructor.name}: got no parameters; pass model.parameters()`);
    checkSetting(this.constructor.name, "lr", lr, 0);
    this.lr = lr;
  }

  /** Changes one parameter by its gradient. */
  protected abstract update(parameter: Parameter, gradient: Tensor): void;

  /** Changes every parameter that has a gradient. Throws when none has: nothing would ever be trained. */
  step(): void {
    if (!this.parameters.some(({ grad }) => grad))
      throw new Error(
        `${this.constructor.name}: none of the ${this.parameters.length} parameters has a gradient; call backward() ` +
          "before step(), and make the optimizer after model.to(dtype), which makes new parameters",
      );
    scope(() => {
      for (const parameter of this.parameters) if (parameter.grad) this.update(parameter, parameter.grad);
    });
  }

  /** Forgets all gradients and frees their memory; call it before each backward pass. */
  zeroGrad(): void {
    for (const parameter of this.parameters) clearGrad(parameter);
  }

  /** Tensors of zeros beside each parameter, made on first use, under a name. */
  protected state(name: string, parameter: Parameter): Tensor {
    const byParameter = this.#state.get(name) ?? new Map<Parameter, Tensor>();
    this.#state.set(name, byParameter);
    const known = byParameter.get(parameter);
    if (known) return known;
    const fresh = outsideScopes(() => zerosLike(parameter)).setCategory("optimizer");
    byParameter.set(parameter, fresh);
    return fresh;
  }
}
