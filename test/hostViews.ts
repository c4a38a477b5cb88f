/** Random host views for kernel tests: the same values in every kind of layout a kernel must accept. */
import fc from "fast-check";
import { expect } from "vitest";
import type { HostView, Layout } from "../src/backends/backend.ts";
import { createTypedArray } from "../src/backends/dtype.ts";

export type FloatType = "f32" | "f64";

/** How to lay out a tensor: sizes are chosen per axis so that shrinking leads to the contiguous layout. */
export interface LayoutPlan {
  /** Sort keys of the axes: the order in which they lie in memory. */
  readonly order: readonly number[];
  /** Elements before and after the view along each axis, as in a slice of a larger buffer. */
  readonly before: readonly number[];
  readonly after: readonly number[];
  /** Whether an axis is broadcast (inputs only). */
  readonly broadcast: readonly boolean[];
}

/** The contiguous layout. */
export const plain: LayoutPlan = {
  order: [0, 1, 2, 3, 4],
  before: [0, 0, 0, 0, 0],
  after: [0, 0, 0, 0, 0],
  broadcast: [],
};

const maxRank = 5;
const perAxis = <T>(value: fc.Arbitrary<T>) => fc.array(value, { minLength: maxRank, maxLength: maxRank });

export const layoutPlan: fc.Arbitrary<LayoutPlan> = fc.oneof(
  fc.constant({
    order: [0, 1, 2, 3, 4],
    before: [0, 0, 0, 0, 0],
    after: [0, 0, 0, 0, 0],
    broadcast: Array(5).fill(false),
  }),
  // A channel slice of a wider buffer, the layout of a dense block.
  fc.record({
    order: fc.constant([0, 1, 2, 3, 4]),
    before: fc.nat(3).map((n) => [0, n, 0, 0, 0]),
    after: fc.nat(3).map((n) => [1, n, 0, 0, 0]),
    broadcast: fc.constant(Array(5).fill(false)),
  }),
  fc.record({
    order: perAxis(fc.nat(9)),
    before: perAxis(fc.nat(2)),
    after: perAxis(fc.nat(2)),
    broadcast: perAxis(fc.boolean()),
  }),
);

/** A view of `shape` with random values in [-1, 1) drawn from `seed`; memory outside the view holds NaN. */
export function inputView(
  shape: readonly number[],
  dtype: FloatType,
  plan: LayoutPlan,
  seed: number,
): HostView {
  const view = emptyView(shape, dtype, plan, true);
  const random = generator(seed);
  forEachOffset(view, (at) => {
    view.data[at] = random() * 2 - 1;
  });
  return view;
}

/** A view of `shape` to be written; all memory holds NaN. */
export function outputView(shape: readonly number[], dtype: FloatType, plan: LayoutPlan): HostView {
  return emptyView(shape, dtype, plan, false);
}

function emptyView(
  shape: readonly number[],
  dtype: FloatType,
  plan: LayoutPlan,
  mayBroadcast: boolean,
): HostView {
  const axes = shape.map((_, axis) => axis).sort((a, b) => plan.order[a] - plan.order[b]);
  const strides = shape.map(() => 0);
  let length = 1;
  let offset = 0;
  for (const axis of axes.reverse()) {
    if (mayBroadcast && plan.broadcast[axis]) continue;
    strides[axis] = length;
    offset += plan.before[axis] * length;
    length *= plan.before[axis] + shape[axis] + plan.after[axis];
  }
  const data = createTypedArray(dtype, length);
  data.fill(Number.NaN);
  return { dtype, data, shape, strides, offset };
}

/** mulberry32 */
function generator(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function forEachOffset(
  { shape, strides, offset }: Layout,
  visit: (at: number) => void,
  axis = 0,
  at = offset,
): void {
  if (axis === shape.length) {
    visit(at);
    return;
  }
  for (let i = 0; i < shape[axis]; i++)
    forEachOffset({ shape, strides, offset }, visit, axis + 1, at + i * strides[axis]);
}

/** Puts `value` at a place of the view chosen by `where`, if it has elements. */
function plant(view: HostView, where: number, value: number): void {
  const offsets: number[] = [];
  forEachOffset(view, (at) => offsets.push(at));
  if (offsets.length > 0) view.data[offsets[where % offsets.length]] = value;
}

/** The view's elements in row-major order. */
export function dense(view: HostView): Float64Array {
  const values: number[] = [];
  forEachOffset(view, (at) => values.push(view.data[at]));
  return Float64Array.from(values);
}

/** A sum as the plain definition gives it, and the sum of the sizes of its terms, which bounds the rounding. */
export class Sum {
  value = 0;
  size = 0;
  terms = 0;
  add(term: number): void {
    this.value += term;
    this.size += Math.abs(term);
    this.terms += 1;
  }
}

/** Expects the written view to hold `expected` to within the rounding of that many terms, and nothing else written. */
export function expectSums(output: HostView, expected: readonly Sum[]): void {
  const epsilon = output.dtype === "f32" ? 2 ** -23 : 2 ** -52;
  const actual = dense(output);
  expect(actual.length).toBe(expected.length);
  expected.forEach(({ value, size, terms }, i) => {
    if (Number.isFinite(value)) {
      const tolerance = epsilon * (terms + 4) * size;
      if (!(Math.abs(actual[i] - value) <= tolerance)) {
        expect.fail(`element ${i}: expected ${value} within ${tolerance}, got ${actual[i]}`);
      }
    } else if (!Object.is(actual[i], value)) expect.fail(`element ${i}: expected ${value}, got ${actual[i]}`);
  });
  const inside = new Set<number>();
  forEachOffset(output, (at) => inside.add(at));
  output.data.forEach((value, at) => {
    if (!inside.has(at) && !Number.isNaN(value)) expect.fail(`memory outside the view was written, at ${at}`);
  });
}

/** Expects exactly these values and nothing else written. */
export function expectExactly(output: HostView, expected: ArrayLike<number>): void {
  const sums = Array.from(expected, (value) => {
    const sum = new Sum();
    sum.value = value;
    return sum;
  });
  expectSums(output, sums);
}

/** All indices of `shape` in row-major order. */
export function* indices(shape: readonly number[]): Generator<number[]> {
  const total = shape.reduce((product, extent) => product * extent, 1);
  for (let flat = 0; flat < total; flat++) {
    const index: number[] = [];
    for (let axis = shape.length - 1, rest = flat; axis >= 0; axis--) {
      index.unshift(rest % shape[axis]);
      rest = Math.floor(rest / shape[axis]);
    }
    yield index;
  }
}

export const runs = { numRuns: 150 };

/** What every case draws besides its shapes. */
export const setting = fc.record({
  dtype: fc.constantFrom<FloatType>("f32", "f64"),
  plans: fc.tuple(layoutPlan, layoutPlan, layoutPlan, layoutPlan),
  seed: fc.integer(),
  /** Which input gets a special value, where, and which. */
  planted: fc.option(
    fc.record({
      input: fc.nat(1),
      where: fc.nat(),
      value: fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY),
    }),
    { nil: undefined },
  ),
});
export type Setting = typeof setting extends fc.Arbitrary<infer T> ? T : never;

/** Random inputs of these shapes; one of the first two may hold a planted value. */
export function makeInputs(
  shapes: readonly (readonly number[])[],
  { dtype, plans, seed, planted }: Setting,
): HostView[] {
  const views = shapes.map((shape, i) => inputView(shape, dtype, plans[i], seed + i));
  if (planted) plant(views[planted.input % views.length], planted.where, planted.value);
  return views;
}

export const plainSetting: Setting = {
  dtype: "f32",
  plans: [plain, plain, plain, plain],
  seed: 1,
  planted: undefined,
};

export const sums = (length: number) => Array.from({ length }, () => new Sum());
/** Number of elements. */
export const size = (shape: readonly number[]) => shape.reduce((product, extent) => product * extent, 1);
