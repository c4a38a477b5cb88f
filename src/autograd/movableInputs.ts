/**
 * The inputs of a function whose gradient is checked: what to differentiate with respect to, and how to evaluate
 * the function a little way off.
 */
import { isFloat, type TypedArray } from "../backends/dtype.ts";
import { tensor } from "../tensor/create.ts";
import { Generator } from "../tensor/generator.ts";
import { formatShape } from "../tensor/layout.ts";
import { scope } from "../tensor/scope.ts";
import { Tensor } from "../tensor/tensor.ts";
import { GradcheckError } from "./gradcheckError.ts";
import { enableGrad } from "./mode.ts";
import { copyInto } from "./ops/inPlace.ts";

/** A function of tensors; outputs and inputs that are not floating point are passed through unchecked. */
export type TensorFunction = (...inputs: Tensor[]) => Tensor | readonly Tensor[];

export interface InputOptions {
  /** Positions of the inputs to check. Default: every floating-point input. */
  readonly withRespectTo?: readonly number[];
  /** What messages call the inputs. Default: `input 0`, `input 1` and so on. */
  readonly names?: readonly string[];
}

function requireF64(check: string, name: string, { dtype, shape }: Tensor): void {
  if (dtype !== "f64")
    throw new GradcheckError(
      `${check}: ${name} ${formatShape(shape)} is ${dtype}; finite differences need f64, ` +
        'create it with { dtype: "f64" } or convert it with to("f64")',
    );
}

/**
 * The inputs as leaves that require grad. An input that already is such a leaf, a parameter say, is used itself and
 * moved in place, so that a function may read it through its model instead of taking it as an argument; of any other
 * input a leaf with the same memory and layout is made, and moved copies are passed.
 */
export class MovableInputs {
  readonly check: string;
  /** Positions of the inputs that are differentiated and moved. */
  readonly positions: readonly number[];
  /** All inputs, those at `positions` as leaves. */
  readonly leaves: readonly Tensor[];
  private readonly fn: TensorFunction;
  private readonly inputs: readonly Tensor[];
  private readonly names: readonly string[] | undefined;

  /** Throws a `GradcheckError` when there is nothing to check, or an input to check is not f64. */
  constructor(check: string, fn: TensorFunction, inputs: readonly Tensor[], options: InputOptions) {
    this.check = check;
    this.fn = fn;
    this.inputs = inputs;
    this.names = options.names;
    this.positions = options.withRespectTo ?? inputs.flatMap((input, i) => (isFloat(input.dtype) ? [i] : []));
    if (this.positions.length === 0)
      throw new GradcheckError(`${check}: no input is floating point, so there is nothing to differentiate`);
    for (const position of this.positions) {
      if (!(position in inputs))
        throw new GradcheckError(`${check}: there is no input ${position} among ${inputs.length}`);
      requireF64(check, this.nameOf(position), inputs[position]);
    }
    this.leaves = inputs.map((input, i) => {
      if (!this.positions.includes(i) || (input.isLeaf && input.requiresGrad)) return input;
      const leaf = new Tensor(input.storage, input.shape, input.strides, input.offset);
      leaf.requiresGrad = true;
      return leaf;
    });
  }

  nameOf(position: number): string {
    return this.names?.[position] ?? `input ${position}`;
  }

  /** The floating-point outputs at `given`; the others carry no gradient. Throws when there are none, or not f64. */
  outputs(given: readonly Tensor[] = this.leaves): Tensor[] {
    const result = this.fn(...given);
    const outputs = (result instanceof Tensor ? [result] : result).filter(({ dtype }) => isFloat(dtype));
    if (outputs.length === 0)
      throw new GradcheckError(
        `${this.check}: the function returned no floating-point tensor, so there is nothing to differentiate`,
      );
    for (const [i, output] of outputs.entries()) requireF64(this.check, `output ${i}`, output);
    return outputs;
  }

  /** The outputs' values with the inputs in `moved` at other values, given in row-major order. */
  valuesAt(moved: ReadonlyMap<number, ArrayLike<number>>): TypedArray[] {
    return scope(() => {
      const restore: (() => void)[] = [];
      const given = this.leaves.map((leaf, i) => {
        const values = moved.get(i);
        if (!values) return leaf;
        const { shape, backend } = leaf;
        const copy = tensor(Float64Array.from(values), { shape, backend, dtype: "f64", requiresGrad: true });
        if (leaf !== this.inputs[i]) return copy;
        restore.push(overwrite(leaf, copy));
        return leaf;
      });
      try {
        return enableGrad(() => this.outputs(given).map((output) => output.dataSync()));
      } finally {
        for (const undo of restore) undo();
      }
    });
  }
}

/** Writes into `target`. The function returned puts back the old values, and the count of writes with them. */
function overwrite(target: Tensor, source: Tensor): () => void {
  const { version } = target.storage;
  const old = tensor(target.dataSync(), {
    shape: target.shape,
    backend: target.backend,
    dtype: target.dtype,
  });
  copyInto(target, source);
  return () => {
    copyInto(target, old);
    target.storage.version = version;
  };
}

/** Normal random numbers, one array per length: directions, and the gradient that arrives at each output. */
export function randomNumbers(lengths: readonly number[], seed: number): Float64Array[] {
  const generator = new Generator(seed);
  return lengths.map((length) => {
    const values = new Float64Array(length);
    generator.normal(values);
    return values;
  });
}

/** f64 tensors of these values with the shapes of `like`. */
export function tensorsLike(like: readonly Tensor[], values: readonly Float64Array[]): Tensor[] {
  return like.map(({ shape, backend }, i) => tensor(values[i], { shape, backend, dtype: "f64" }));
}

/** Σ u · (high - low) over all outputs; `low` is 0 when left out. Differences come first: they lose fewer digits. */
export function weightedDifference(
  weights: readonly Float64Array[],
  high: readonly TypedArray[],
  low?: readonly TypedArray[],
): number {
  let sum = 0;
  for (const [output, u] of weights.entries())
    for (let i = 0; i < u.length; i++) sum += u[i] * (high[output][i] - (low ? low[output][i] : 0));
  return sum;
}
