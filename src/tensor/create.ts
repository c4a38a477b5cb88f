/** Making tensors: from numbers, filled, counted, and random. New tensors live on the default backend, in f32. */
import type { Backend, Shape } from "../backends/backend.ts";
import { type DType, isFloat, type TypedArray } from "../backends/dtype.ts";
import { defaultGenerator, type Generator } from "./generator.ts";
import { checkShape, formatShape, sizeOf } from "./layout.ts";
import { defaultBackend } from "./runtime.ts";
import { backendOfShapes, holdsValues } from "./shapesOnly.ts";
import { Storage } from "./storage.ts";
import { type NestedArray, Tensor } from "./tensor.ts";

export interface CreateOptions {
  /** Default "f32". */
  readonly dtype?: DType;
  readonly requiresGrad?: boolean;
  /** Default: the backend set by `setDefaultBackend`. */
  readonly backend?: Backend;
}

/** A tensor on memory that holds `values`; a function makes them in that memory. */
function create(
  values: ArrayLike<number> | ((into: TypedArray) => void),
  shape: Shape,
  options: CreateOptions,
): Tensor {
  const { backend = backendOfShapes() ?? defaultBackend(), dtype = "f32", requiresGrad = false } = options;
  const storage = new Storage(backend, dtype, sizeOf(shape), "data");
  if (typeof values === "function") storage.fill(values);
  else if (holdsValues(backend))
    backend.write(
      storage.buffer,
      dtype === "bool" ? Uint8Array.from(values, (value) => Number(value !== 0)) : values,
    );
  const result = new Tensor(storage, shape);
  if (requiresGrad) result.requiresGrad = true;
  return result;
}

function shapeOf(values: NestedArray | readonly number[]): number[] {
  if (!Array.isArray(values)) return [];
  return values.length === 0 ? [0] : [values.length, ...shapeOf(values[0])];
}

function flattenInto(values: NestedArray, shape: Shape, axis: number, result: number[]): void {
  if (typeof values === "number") {
    if (axis !== shape.length) throw ragged(shape);
    result.push(values);
    return;
  }
  if (!Array.isArray(values))
    throw new Error(
      `tensor: expects numbers in nested arrays, found a ${typeof values}; convert it to numbers first`,
    );
  if (axis >= shape.length || values.length !== shape[axis]) throw ragged(shape);
  for (const item of values) flattenInto(item, shape, axis + 1, result);
}

function ragged(shape: Shape): Error {
  return new Error(
    `tensor: the nested arrays are ragged: the first entries suggest shape ${formatShape(shape)}, others do not fit it`,
  );
}

/**
 * A tensor of the given numbers: nested arrays, whose nesting is the shape, or a flat (typed) array with `shape`.
 * Throws when nested arrays are ragged or the count does not fit the shape.
 *
 *     tensor([[1, 2], [3, 4]])
 *     tensor(new Float32Array(6), { shape: [2, 3] })
 */
export function tensor(
  values: NestedArray | TypedArray | readonly number[],
  options: CreateOptions & { readonly shape?: Shape } = {},
): Tensor {
  if (ArrayBuffer.isView(values)) return shaped(values, options.shape ?? [values.length], options);
  const natural = shapeOf(values as NestedArray);
  const flat: number[] = [];
  flattenInto(values as NestedArray, natural, 0, flat);
  return shaped(flat, options.shape ?? natural, options);
}

function shaped(values: ArrayLike<number>, shape: Shape, options: CreateOptions): Tensor {
  checkShape("tensor", shape);
  if (sizeOf(shape) !== values.length)
    throw new Error(
      `tensor: shape ${formatShape(shape)} has ${sizeOf(shape)} elements, ${values.length} were given`,
    );
  return create(values, shape, options);
}

/** A tensor filled with `value`. */
export function full(shape: Shape, value: number, options: CreateOptions = {}): Tensor {
  checkShape("full", shape);
  const stored = options.dtype === "bool" ? Number(value !== 0) : value;
  return create((into) => void into.fill(stored), shape, options);
}

/** A tensor of zeros. */
export function zeros(shape: Shape, options: CreateOptions = {}): Tensor {
  return full(shape, 0, options);
}

/** A tensor of ones. */
export function ones(shape: Shape, options: CreateOptions = {}): Tensor {
  return full(shape, 1, options);
}

/** Zeros of another tensor's shape, dtype and backend. */
export function zerosLike(like: Tensor): Tensor {
  return zeros(like.shape, { dtype: like.dtype, backend: like.backend });
}

/** Ones of another tensor's shape, dtype and backend. */
export function onesLike(like: Tensor): Tensor {
  return ones(like.shape, { dtype: like.dtype, backend: like.backend });
}

/** A scalar tensor of another tensor's dtype and backend. */
export function scalarLike(value: number, like: Tensor): Tensor {
  return full([], value, { dtype: like.dtype, backend: like.backend });
}

/** The numbers from `start` (default 0) in steps of `step` (default 1) up to, not including, `end`. */
export function arange(
  end: number,
  options: CreateOptions & { readonly start?: number; readonly step?: number } = {},
): Tensor {
  const { start = 0, step = 1 } = options;
  const exact = (end - start) / step;
  const count = Math.ceil(exact);
  if (!Number.isSafeInteger(count) || exact < 0)
    throw new Error(`arange: no steps of ${step} lead from ${start} to ${end}`);
  return create(
    Float64Array.from({ length: count }, (_, i) => start + i * step),
    [count],
    options,
  );
}

/** `count` numbers evenly from `start` to `end`, both included. */
export function linspace(start: number, end: number, count: number, options: CreateOptions = {}): Tensor {
  checkShape("linspace", [count]);
  const step = count > 1 ? (end - start) / (count - 1) : 0;
  // Counted from the nearer end, so that rounding cannot miss `end`.
  const value = (_: unknown, i: number) => (i < count / 2 ? start + i * step : end - (count - 1 - i) * step);
  return create(Float64Array.from({ length: count }, value), [count], options);
}

/** The identity matrix `[size, size]`. */
export function eye(size: number, options: CreateOptions = {}): Tensor {
  checkShape("eye", [size, size]);
  return create(
    Float64Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? 1 : 0)),
    [size, size],
    options,
  );
}

export interface RandomOptions extends CreateOptions {
  /** Default: the generator seeded by `manualSeed`. */
  readonly generator?: Generator;
}

/** Memory that random numbers are drawn into. */
export type FloatArray = Float32Array | Float64Array;

type Draw = (values: FloatArray, from: Generator) => void;

function drawing(draw: Draw, generator: Generator | undefined): (values: TypedArray) => void {
  return (values) => {
    if (!(values instanceof Float32Array || values instanceof Float64Array))
      throw new Error("random: draws f32 or f64; use randint() for integers");
    draw(values, generator ?? defaultGenerator());
  };
}

/**
 * Draws new values into a tensor's own memory, all of which it must fill, in order: weights would otherwise take twice
 * their size while a network is made.
 */
export function redraw(target: Tensor, draw: Draw, generator?: Generator): void {
  if (!target.isContiguous || target.size !== target.storage.length)
    throw new Error(
      `redraw: tensor ${formatShape(target.shape)} is a view of other memory; draw a tensor of its own and copy it`,
    );
  target.storage.fill(drawing(draw, generator));
  target.storage.version += 1;
}

function random(shape: Shape, options: RandomOptions, draw: Draw): Tensor {
  checkShape("random", shape);
  const { dtype = "f32" } = options;
  if (!isFloat(dtype)) throw new Error(`random: draws f32 or f64, not ${dtype}; use randint() for integers`);
  return create(drawing(draw, options.generator), shape, options);
}

/** Uniform random numbers in [low, high), by default [0, 1). */
export function rand(
  shape: Shape,
  options: RandomOptions & { readonly low?: number; readonly high?: number } = {},
): Tensor {
  return random(shape, options, (values, generator) => generator.uniform(values, options.low, options.high));
}

/** Normal random numbers of the given mean (default 0) and standard deviation (default 1). */
export function randn(
  shape: Shape,
  options: RandomOptions & { readonly mean?: number; readonly std?: number } = {},
): Tensor {
  return random(shape, options, (values, generator) => generator.normal(values, options.mean, options.std));
}

/** Random integers from `low` to `high` - 1, as i32. */
export function randint(low: number, high: number, shape: Shape, options: RandomOptions = {}): Tensor {
  checkShape("randint", shape);
  const values = new Int32Array(sizeOf(shape));
  (options.generator ?? defaultGenerator()).integers(values, low, high);
  return create(values, shape, { dtype: "i32", ...options });
}

/** The numbers 0 to `count` - 1 in random order, as i32. */
export function randperm(count: number, options: RandomOptions = {}): Tensor {
  checkShape("randperm", [count]);
  const values = (options.generator ?? defaultGenerator()).permutation(count);
  return create(values, [count], { dtype: "i32", ...options });
}
