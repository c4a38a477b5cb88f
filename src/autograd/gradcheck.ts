/**
 * `gradcheck`: does a function's gradient agree with finite differences? `gradgradcheck`: does the gradient of its
 * gradient? Both look at every element and suit single ops and small layers; for a whole network, whose parameters
 * cannot be moved one by one, see `gradcheckDirections`.
 *
 * Outputs are reduced to one number, L = Σ u · f(x) with random u; its gradient is compared with
 * (L(x + ε) - L(x - ε)) / 2ε for each element of x.
 */
import type { TypedArray } from "../backends/dtype.ts";
import { contiguousStrides, formatShape, sameShape } from "../tensor/layout.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { grad } from "./engine.ts";
import { type ComparedInput, GradcheckError, type GradientMismatch } from "./gradcheckError.ts";
import { enableGrad } from "./mode.ts";
import {
  type InputOptions,
  MovableInputs,
  randomNumbers,
  type TensorFunction,
  tensorsLike,
  weightedDifference,
} from "./movableInputs.ts";

export interface GradcheckOptions extends InputOptions {
  /** Step of the differences. Default 1e-6. */
  readonly epsilon?: number;
  /** Default 1e-5. An element passes when its error is at most absoluteTolerance + relativeTolerance · |numeric|. */
  readonly absoluteTolerance?: number;
  /** Default 1e-3. */
  readonly relativeTolerance?: number;
  /** Of the random gradient of the outputs. Default 0. */
  readonly seed?: number;
  /**
   * Accept, where the slopes left and right differ (ReLU at 0, a tie of a maximum), any gradient between them.
   * Default false: a kink is reported.
   */
  readonly acceptSubgradients?: boolean;
}

/**
 * Compares the gradient of `fn` at `inputs` with central differences, element by element, for one random gradient
 * of the outputs, and repeats the backward pass to see that it gives the same bits. Inputs keep their layouts in
 * the forward pass that is differentiated, so that strided gradients are checked too. An input that is a leaf
 * requiring grad is moved in place and put back: `fn` may read it through its model.
 *
 *     gradcheck((x, w) => conv2d(x, w), [randn([2, 3, 5, 5], { dtype: "f64" }), randn([4, 3, 3, 3], { dtype: "f64" })]);
 *     gradcheck(() => layer.forward(x), layer.parameters());
 *
 * Throws a `GradcheckError` that names the input, the elements, both gradients and, where it shows, the likely
 * cause; also when an input or output is not f64, and when `fn` is not repeatable.
 */
export function gradcheck(
  fn: TensorFunction,
  inputs: readonly Tensor[],
  options: GradcheckOptions = {},
): void {
  compare(new MovableInputs("gradcheck", fn, inputs, options), options);
}

/**
 * Checks the gradient of the gradient: `gradcheck` of the backward pass of `fn`, with respect to the inputs and to
 * the gradient that arrives at the outputs, which is drawn at random. Options and errors are those of `gradcheck`.
 */
export function gradgradcheck(
  fn: TensorFunction,
  inputs: readonly Tensor[],
  options: GradcheckOptions = {},
): void {
  compare(backwardPass("gradgradcheck", fn, inputs, options), options);
}

/** The backward pass of `fn` as a function of the inputs and of the gradients of the outputs, to be checked itself. */
export function backwardPass(
  check: string,
  fn: TensorFunction,
  inputs: readonly Tensor[],
  options: InputOptions & { readonly seed?: number },
): MovableInputs {
  const forward = new MovableInputs(check, fn, inputs, options);
  const { positions } = forward;
  const upstream = scope(() => {
    const outputs = enableGrad(() => forward.outputs());
    const lengths = outputs.map((output) => output.size);
    return tensorsLike(outputs, randomNumbers(lengths, (options.seed ?? 0) + 1));
  });
  const count = inputs.length;
  const backward: TensorFunction = (...given) =>
    grad(
      forward.outputs(given.slice(0, count)),
      positions.map((i) => given[i]),
      { gradients: given.slice(count), createGraph: true, allowUnused: true },
    );
  return new MovableInputs(check, backward, [...inputs, ...upstream], {
    withRespectTo: [...positions, ...upstream.map((_, i) => count + i)],
    names: [
      ...inputs.map((_, i) => `the gradient with respect to ${forward.nameOf(i)}`),
      ...upstream.map((_, i) => `the gradient with respect to the gradient of output ${i}`),
    ],
  });
}

function sameBits(a: readonly TypedArray[], b: readonly TypedArray[]): boolean {
  return (
    a.length === b.length && a.every((values, i) => values.every((value, j) => Object.is(value, b[i][j])))
  );
}

/** The engine's gradients, from two backward passes that must agree in every bit. */
function analyticGradients(inputs: MovableInputs, upstream: readonly Float64Array[]): TypedArray[] {
  const { check, positions } = inputs;
  const leaves = positions.map((position) => inputs.leaves[position]);
  return scope(() =>
    enableGrad(() => {
      const outputs = inputs.outputs();
      const options = { allowUnused: true, retainGraph: true };
      const pass = () =>
        grad(outputs, leaves, { ...options, gradients: tensorsLike(outputs, upstream) }).map(
          (gradient, i) => {
            if (!sameShape(gradient.shape, leaves[i].shape) || gradient.dtype !== leaves[i].dtype)
              throw new GradcheckError(
                `${check}: the gradient of ${inputs.nameOf(positions[i])} is ${formatShape(gradient.shape)} ${gradient.dtype}, ` +
                  `the input ${formatShape(leaves[i].shape)} ${leaves[i].dtype}`,
              );
            return gradient.dataSync();
          },
        );
      const first = pass();
      if (!sameBits(first, pass()))
        throw new GradcheckError(
          `${check}: two backward passes through the same graph gave different gradients; ` +
            "a gradient rule has a side effect or reads memory it did not write",
        );
      return first;
    }),
  );
}

/** Throws when a gradient is wrong. */
function compare(inputs: MovableInputs, options: GradcheckOptions): void {
  const still = new Map<number, ArrayLike<number>>();
  const middle = inputs.valuesAt(still);
  if (!sameBits(middle, inputs.valuesAt(still)))
    throw new GradcheckError(
      `${inputs.check}: the function gave different outputs for the same inputs; ` +
        "make it repeatable: call manualSeed() in it, or put the model in eval mode",
    );
  const lengths = middle.map((values) => values.length);
  const upstream = randomNumbers(lengths, options.seed ?? 0);
  const analytic = analyticGradients(inputs, upstream);
  const compared = inputs.positions.map((position, i) =>
    compareInput(inputs, position, { analytic: analytic[i], middle, upstream }, options),
  );
  if (compared.some(({ mismatches }) => mismatches.length > 0))
    throw GradcheckError.of(inputs.check, compared);
}

interface AtTheInputs {
  readonly analytic: TypedArray;
  /** The outputs where nothing is moved. */
  readonly middle: readonly TypedArray[];
  readonly upstream: readonly Float64Array[];
}

function compareInput(
  inputs: MovableInputs,
  position: number,
  { analytic, middle, upstream }: AtTheInputs,
  {
    epsilon = 1e-6,
    absoluteTolerance = 1e-5,
    relativeTolerance = 1e-3,
    acceptSubgradients = false,
  }: GradcheckOptions,
): ComparedInput {
  const name = inputs.nameOf(position);
  const { shape } = inputs.leaves[position];
  const values = inputs.leaves[position].dataSync();
  const strides = contiguousStrides(shape);
  const at = (element: number, value: number): TypedArray[] => {
    const moved = values.slice();
    moved[element] = value;
    return inputs.valuesAt(new Map([[position, moved]]));
  };
  const numeric = new Float64Array(values.length);
  const mismatches: GradientMismatch[] = [];
  values.forEach((value, element) => {
    // The step that was really made, after rounding.
    const [above, below] = [value + epsilon, value - epsilon];
    const [high, low] = [at(element, above), at(element, below)];
    numeric[element] = weightedDifference(upstream, high, low) / (above - below);
    const found = analytic[element];
    const error = Math.abs(found - numeric[element]);
    const allowed = absoluteTolerance + relativeTolerance * Math.abs(numeric[element]);
    // Not "error > allowed": NaN must not pass.
    if (error <= allowed) return;
    const right = weightedDifference(upstream, high, middle) / (above - value);
    const left = weightedDifference(upstream, middle, low) / (value - below);
    const kink = !(Math.abs(right - left) <= 2 * allowed);
    const between = found >= Math.min(left, right) - allowed && found <= Math.max(left, right) + allowed;
    if (acceptSubgradients && kink && between) return;
    const index = shape.map((extent, axis) => Math.floor(element / strides[axis]) % extent);
    mismatches.push({
      input: position,
      name,
      index,
      analytic: found,
      numeric: numeric[element],
      error,
      allowed,
      kink,
    });
  });
  return { name, shape, analytic, numeric, mismatches };
}
