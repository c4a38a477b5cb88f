/**
 * A gradient check whose cost does not grow with the number of parameters: instead of moving every element, it
 * moves all of them at once along a random direction v and compares ⟨u, (f(x + εv) - f(x - εv)) / 2ε⟩ with ⟨∇, v⟩.
 * A wrong gradient escapes one direction only by chance; the method is that of JAX's `check_grads`.
 */
import { formatShape } from "../tensor/layout.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { grad } from "./engine.ts";
import { backwardPass, type GradcheckOptions } from "./gradcheck.ts";
import { formatNumber, GradcheckError } from "./gradcheckError.ts";
import { enableGrad } from "./mode.ts";
import {
  MovableInputs,
  randomNumbers,
  type TensorFunction,
  tensorsLike,
  weightedDifference,
} from "./movableInputs.ts";

export interface DirectionOptions extends Omit<GradcheckOptions, "acceptSubgradients"> {
  /** How many random directions to try. Default 3. */
  readonly directions?: number;
  /** 2 checks the gradient of the gradient. Default 1. */
  readonly order?: 1 | 2;
}

/** How many wrong inputs a message lists. */
const shownInputs = 4;

/**
 * Checks the gradient of `fn` along random directions, with two evaluations for each, so that a whole network's
 * parameters are checked in the time of a few steps:
 *
 *     gradcheckDirections(() => crossEntropy(model.forward(x), labels), model.parameters());
 *
 * All inputs move together; when the slopes disagree, each is moved alone to name the wrong ones. `seed` is that of
 * the directions. Throws a `GradcheckError`, also when an input or output is not f64.
 */
export function gradcheckDirections(
  fn: TensorFunction,
  inputs: readonly Tensor[],
  options: DirectionOptions = {},
): void {
  const check = "gradcheckDirections";
  const { directions = 3, order = 1, seed = 0 } = options;
  const movable =
    order === 1 ? new MovableInputs(check, fn, inputs, options) : backwardPass(check, fn, inputs, options);
  for (let direction = 0; direction < directions; direction++) {
    const slopes = (moved: readonly number[]) => slopesAlong(movable, moved, seed + 2 * direction, options);
    const together = slopes(movable.positions);
    if (together.agree) continue;
    const alone = movable.positions.map((position) => ({ position, ...slopes([position]) }));
    const wrong = alone.filter(({ agree }) => !agree);
    const lines = wrong
      .slice(0, shownInputs)
      .map(
        ({ position, ...one }) =>
          `  ${movable.nameOf(position)} ${formatShape(movable.leaves[position].shape)} alone: ${describe(one)}`,
      );
    if (wrong.length > shownInputs) lines.push(`  … and ${wrong.length - shownInputs} more inputs`);
    throw new GradcheckError(
      [
        `${check}: the gradient is wrong along random direction ${direction}: ${describe(together)}`,
        ...lines,
        "  hint: gradcheck() of the part in question, on a small input, shows which elements are wrong",
      ].join("\n"),
    );
  }
}

/** Steps to try, as parts of epsilon, until the slopes agree. */
const shorterSteps = [1, 0.1, 0.01];

interface Slopes {
  readonly analytic: number;
  readonly numeric: number;
  readonly agree: boolean;
}

function describe({ analytic, numeric }: Slopes): string {
  return `gradient ${formatNumber(analytic)}, finite differences ${formatNumber(numeric)}`;
}

/** The slope of ⟨u, fn⟩ when the inputs at `moved` move along random directions. */
function slopesAlong(
  inputs: MovableInputs,
  moved: readonly number[],
  seed: number,
  { epsilon = 1e-6, absoluteTolerance = 1e-5, relativeTolerance = 1e-3 }: DirectionOptions,
): Slopes {
  const leaves = moved.map((position) => inputs.leaves[position]);
  const values = leaves.map((leaf) => leaf.dataSync());
  const lengths = values.map(({ length }) => length);
  const directions = randomNumbers(lengths, seed);
  const at = (step: number) =>
    inputs.valuesAt(
      new Map(
        moved.map((position, i) => [
          position,
          Float64Array.from(values[i], (value, j) => value + step * directions[i][j]),
        ]),
      ),
    );
  const { gradients, upstream } = scope(() =>
    enableGrad(() => {
      const outputs = inputs.outputs();
      const outputLengths = outputs.map(({ size }) => size);
      const upstream = randomNumbers(outputLengths, seed + 1);
      const options = { gradients: tensorsLike(outputs, upstream), allowUnused: true };
      return { upstream, gradients: grad(outputs, leaves, options).map((gradient) => gradient.dataSync()) };
    }),
  );
  const analytic = weightedDifference(directions, gradients);
  // In a network with thousands of ReLUs one may switch within a step. A shorter step misses the switch, while a
  // wrong gradient stays wrong.
  let numeric = Number.NaN;
  for (const factor of shorterSteps) {
    const step = epsilon * factor;
    numeric = weightedDifference(upstream, at(step), at(-step)) / (2 * step);
    const allowed = absoluteTolerance + relativeTolerance * Math.abs(numeric);
    if (Math.abs(analytic - numeric) <= allowed) return { analytic, numeric, agree: true };
  }
  return { analytic, numeric, agree: false };
}
