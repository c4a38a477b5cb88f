/**
 * What a backend does itself in reproducible mode. Every op is taken apart into these few steps, by the same code on
 * every backend, and each step has one right answer whatever the order of its additions. So a backend has few kernels to
 * get right, and two backends agree in every bit.
 */
import type { Layout, Shape } from "../backend.ts";
import type { Expression } from "../expression.ts";

/** The steps, on a backend's own views of memory. */
export interface Machine<V extends Layout> {
  /** Uninitialised f32 memory in row-major order, which is free again after the op. */
  temporary(shape: Shape): V;
  /**
   * `output = expression(inputs)`, element by element; all have one shape. Every function of the expression is rounded
   * to f32 by itself, no multiply-add is fused, and what is smaller than 2^-126 becomes 0.
   */
  pointwise(inputs: readonly V[], output: V, expression: Expression, parameters?: readonly number[]): void;
  /**
   * `output[i…] = Σ a[i…, j…] · b[i…, j…]`: the sum without any rounding, rounded once to f32; 0 over nothing. `a` and
   * `b` have the shape of the output and then the axes that are summed over; without `b` the terms are those of `a`.
   */
  sum(a: V, b: V | null, output: V): void;
  /** `output[i…]` = the largest of `a[i…, j…]`; NaN if one is, −∞ over nothing. */
  largest(a: V, output: V): void;
}

/** One op in reproducible mode. `plain` is the backend's ordinary kernel of that op, for where it rounds nothing. */
export type Recipe<Attributes> = <V extends Layout>(call: RecipeCall<V, Attributes>) => void;

/** What a recipe is given. */
export interface RecipeCall<V extends Layout, Attributes> {
  readonly machine: Machine<V>;
  readonly inputs: readonly V[];
  readonly output: V;
  readonly attributes: Attributes;
  plain(inputs: readonly V[], output: V, attributes: Attributes): void;
}

/** The same memory through another layout. */
export function through<V extends Layout>(
  view: V,
  shape: Shape,
  strides: readonly number[],
  offset = view.offset,
): V {
  return { ...view, shape, strides, offset };
}

/** A vector `[C]` as if it had the shape of the images `[N, C, H, W]`. */
export function perChannel<V extends Layout>(vector: V, images: Layout): V {
  return through(vector, images.shape, [0, vector.strides[0], 0, 0]);
}

/** Elements of a shape. */
export const sizeOf = (shape: Shape): number => shape.reduce((product, extent) => product * extent, 1);
