/** What all optimizers share: the parameters, the learning rate, and state that lives as long as the optimizer. */
import { type Assignment, assignAll, clearGrad, copyInto, noGrad, to } from "../../autograd/index.ts";
import { zerosLike } from "../../tensor/create.ts";
import { formatShape, sameShape } from "../../tensor/layout.ts";
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

/** Updates that are done together: the same assignments with the same numbers. */
interface Sweep {
  readonly assignments: readonly Assignment[];
  readonly settings: readonly number[];
  readonly rows: (readonly Tensor[])[];
}

/** What an optimizer remembers from step to step; with it and the parameters a training goes on elsewhere. */
export interface OptimizerState {
  /** By name and number of the parameter: `velocity.3`. The tensors are the optimizer's own. */
  readonly tensors: ReadonlyMap<string, Tensor>;
  /** How often each parameter was changed. */
  readonly steps: readonly number[];
}

export abstract class Optimizer {
  readonly parameters: readonly Parameter[];
  /** The learning rate of the next step; schedules set it. */
  lr: number;
  readonly #state = new Map<string, Map<Parameter, Tensor>>();
  readonly #steps = new Map<Parameter, number>();
  /** What the step that is under way will do. */
  #sweeps: Sweep[] = [];

  constructor(parameters: Iterable<Parameter>, lr: number) {
    this.parameters = [...new Set(parameters)];
    if (this.parameters.length === 0)
      throw new Error(`${this.constructor.name}: got no parameters; pass model.parameters()`);
    checkSetting(this.constructor.name, "lr", lr, 0);
    this.lr = lr;
  }

  /** Changes one parameter by its gradient, best by `assignTogether`. */
  protected abstract update(parameter: Parameter, gradient: Tensor): void;

  /**
   * Does the assignments for a row of tensors at the end of the step, in one sweep with all rows that have the same
   * assignments (the same array) and settings.
   *
   * @param settings the numbers that `parameter(i)` stands for in the expressions
   */
  protected assignTogether(
    row: readonly Tensor[],
    assignments: readonly Assignment[],
    settings: readonly number[],
  ): void {
    const sweep = this.#sweeps.find(
      (known) =>
        known.assignments === assignments &&
        known.rows[0][0].backend === row[0].backend &&
        known.settings.every((setting, i) => setting === settings[i]),
    );
    if (sweep) sweep.rows.push(row);
    else this.#sweeps.push({ assignments, settings, rows: [row] });
  }

  /** Changes every parameter that has a gradient. Throws when none has: nothing would ever be trained. */
  step(): void {
    if (!this.parameters.some(({ grad }) => grad))
      throw new Error(
        `${this.constructor.name}: none of the ${this.parameters.length} parameters has a gradient; call backward() ` +
          "before step(), and make the optimizer after model.to(dtype), which makes new parameters",
      );
    scope(() => {
      this.#sweeps = [];
      for (const parameter of this.parameters) {
        if (!parameter.grad) continue;
        this.update(parameter, parameter.grad);
        this.#steps.set(parameter, this.stepsOf(parameter) + 1);
      }
      for (const { rows, assignments, settings } of this.#sweeps) assignAll(rows, assignments, settings);
      this.#sweeps = [];
    });
  }

  /** Forgets all gradients and frees their memory; call it before each backward pass. */
  zeroGrad(): void {
    for (const parameter of this.parameters) clearGrad(parameter);
  }

  /** Everything that later steps depend on, besides parameters, gradients and settings. */
  stateDict(): OptimizerState {
    const tensors = new Map<string, Tensor>();
    for (const [name, byParameter] of this.#state)
      for (const [i, parameter] of this.parameters.entries()) {
        const tensor = byParameter.get(parameter);
        if (tensor) tensors.set(`${name}.${i}`, tensor);
      }
    return { tensors, steps: this.parameters.map((parameter) => this.stepsOf(parameter)) };
  }

  /**
   * Goes on from what `stateDict` of an optimizer of the same kind gave, for the same parameters in the same order; the
   * numbers are copied. Throws, before anything is written, where it does not fit.
   */
  loadStateDict({ tensors, steps }: OptimizerState): void {
    const name = this.constructor.name;
    const wrong = steps.find((count) => !Number.isSafeInteger(count) || count < 0);
    if (steps.length !== this.parameters.length || wrong !== undefined)
      throw new Error(
        `${name}: the state counts the steps of ${steps.length} parameters` +
          `${wrong === undefined ? "" : `, one of them ${wrong}`}; there are ${this.parameters.length}`,
      );
    const planned = [...tensors].map(([key, source]) => {
      const [, kind, digits] = /^(\w+)\.(\d+)$/.exec(key) ?? [];
      const parameter = this.parameters[Number(digits)];
      if (kind === undefined || parameter === undefined)
        throw new Error(
          `${name}: the state has a tensor ${key}; there are ${this.parameters.length} parameters`,
        );
      if (!sameShape(source.shape, parameter.shape))
        throw new Error(
          `${name}: the state's ${key} is ${formatShape(source.shape)}, the parameter is ${formatShape(parameter.shape)}`,
        );
      return { kind, parameter, source };
    });
    scope(() =>
      noGrad(() => {
        for (const { kind, parameter, source } of planned)
          copyInto(this.state(kind, parameter), to(source, parameter.dtype));
      }),
    );
    for (const [i, parameter] of this.parameters.entries()) this.#steps.set(parameter, steps[i]);
  }

  /** How often the parameter was changed before the step that is under way. */
  protected stepsOf(parameter: Parameter): number {
    return this.#steps.get(parameter) ?? 0;
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
