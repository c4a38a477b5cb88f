/** Random numbers for tests, and comparing lists of numbers. */
import { Generator } from "../../src/index.ts";

/** Pseudo-random numbers around `mean`, rounded to f32. */
export function noise(length: number, mean = 0, seed = 1): Float32Array {
  const values = new Float32Array(length);
  new Generator(seed).normal(values, mean, 1);
  return values;
}

export const total = (values: ArrayLike<number>): number => Array.from(values).reduce((a, b) => a + b, 0);

/** The largest difference; NaN where there is one. */
export const furthest = (found: ArrayLike<number>, expected: ArrayLike<number>): number =>
  Array.from(expected).reduce((most, value, i) => Math.max(most, Math.abs(found[i] - value)), 0);
