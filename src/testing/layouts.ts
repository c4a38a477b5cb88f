/**
 * The same numbers laid out in memory in every way that a tensor allows: with gaps, an offset, axes in another order,
 * and axes that repeat one slice with stride 0. Most wrong kernels are right for contiguous tensors.
 */

import type { SampleSource } from "../autograd/defineOp.ts";
import type { Backend, Buffer, Layout, Shape } from "../backends/backend.ts";
import { createTypedArray, type DType, isFloat } from "../backends/dtype.ts";
import { contiguousStrides, sizeOf } from "../tensor/layout.ts";
import { defaultBackend } from "../tensor/runtime.ts";
import { Storage } from "../tensor/storage.ts";
import { Tensor } from "../tensor/tensor.ts";

/** Where the elements of a tensor lie. One entry per axis. */
export interface LayoutPlan {
  /** Axes from the slowest to the fastest in memory. */
  readonly order: readonly number[];
  /** Unused positions before and after the tensor's, as around a slice. */
  readonly before: readonly number[];
  readonly after: readonly number[];
  /** Axes that repeat one slice (stride 0). */
  readonly repeated: readonly boolean[];
}

/** The contiguous layout. */
export function contiguousPlan(rank: number): LayoutPlan {
  const each = <Value>(value: Value) => Array.from({ length: rank }, () => value);
  return {
    order: Array.from({ length: rank }, (_, axis) => axis),
    before: each(0),
    after: each(0),
    repeated: each(false),
  };
}

/** Draws a layout; the smallest answers give the contiguous one. */
export function drawLayout(source: SampleSource, rank: number, mayRepeat: boolean): LayoutPlan {
  const { order: left } = contiguousPlan(rank);
  const remaining = [...left];
  const each = <Value>(draw: () => Value) => Array.from({ length: rank }, draw);
  return {
    before: each(() => source.integer(0, 2)),
    after: each(() => source.integer(0, 2)),
    order: left.map(() => remaining.splice(source.integer(0, remaining.length - 1), 1)[0]),
    repeated: each(() => mayRepeat && source.integer(0, 3) === 3),
  };
}

/**
 * A tensor of `values` (row-major) with the given layout. Memory outside the tensor is NaN, or 238 for integers.
 * Along repeated axes the last slice of values wins.
 */
export function placeValues(
  values: ArrayLike<number>,
  shape: Shape,
  dtype: DType,
  plan: LayoutPlan,
  backend: Backend = defaultBackend(),
): Tensor {
  const strides = shape.map(() => 0);
  let length = 1;
  let offset = 0;
  for (const axis of [...plan.order].reverse()) {
    if (plan.repeated[axis]) continue;
    strides[axis] = length;
    offset += plan.before[axis] * length;
    length *= plan.before[axis] + shape[axis] + plan.after[axis];
  }
  const size = sizeOf(shape);
  const memory = createTypedArray(dtype, size === 0 ? 0 : length).fill(isFloat(dtype) ? Number.NaN : 0xee);
  const rowMajor = contiguousStrides(shape);
  for (let i = 0; i < size; i++) memory[positionOf(i, { shape, strides, offset }, rowMajor)] = values[i];
  const storage = new Storage(backend, dtype, memory.length, "data");
  backend.write(storage.buffer, memory);
  return new Tensor(storage, shape, strides, size === 0 ? 0 : offset);
}

/** Position in memory of the `i`-th element in row-major order. */
function positionOf(i: number, { shape, strides, offset }: Layout, rowMajor: readonly number[]): number {
  return shape.reduce(
    (position, extent, axis) => position + (Math.floor(i / rowMajor[axis]) % extent) * strides[axis],
    offset,
  );
}

/** Everything in the tensor's memory, also what lies outside of it. */
export function wholeMemory({ storage }: Tensor): ArrayLike<number> {
  const { backend, length } = storage;
  const buffer: Buffer = storage.buffer;
  if (!backend.readSync)
    throw new Error(
      `testing: backend ${backend.name} reads asynchronously; the kit needs one that reads at once`,
    );
  return backend.readSync(buffer, 0, length);
}
