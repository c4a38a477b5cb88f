/** Reads what PyTorch computed (test/fixtures/pytorch) and compares tensors with it. */
import { readFileSync } from "node:fs";
import { expect } from "vitest";
import type { DType } from "../../src/backends/dtype.ts";
import { tensor } from "../../src/tensor/create.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";

export interface StoredTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: readonly number[];
}

export type StoredTensors = Readonly<Record<string, StoredTensor>>;

/** The parsed contents of one fixture file. */
export function readFixture(name: string) {
  return JSON.parse(readFileSync(new URL(`../fixtures/pytorch/${name}.json`, import.meta.url), "utf8"));
}

/** A stored tensor, floats in `float`. */
export function restore(
  { dtype, shape, data }: StoredTensor,
  float: "f32" | "f64",
  requiresGrad = false,
): Tensor {
  const isFloat = dtype === "f32" || dtype === "f64";
  // The decimals of an f32 are those that tell it from its neighbours in f32: only rounding gives its value.
  const values = dtype === "f32" ? Float32Array.from(data) : data;
  return tensor(values, { shape, dtype: isFloat ? float : dtype, requiresGrad });
}

/**
 * Every element of `actual` equals the expected one to within `relative` of the largest expected value, or of
 * `smallest`: what is zero but for rounding has no scale of its own.
 */
export function expectClose(
  what: string,
  actual: Tensor,
  expected: StoredTensor,
  relative: number,
  smallest = 0,
): void {
  expect(actual.shape, `shape of ${what}`).toEqual(expected.shape);
  const largest = Math.max(smallest, ...expected.data.map(Math.abs));
  const values = actual.dataSync();
  expected.data.forEach((value, i) => {
    const error = Math.abs(values[i] - value);
    expect(error, `${what}[${i}] is ${values[i]}, not ${value}`).toBeLessThanOrEqual(relative * largest);
  });
}
