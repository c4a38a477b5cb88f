/**
 * How the kernels of poolOverlapping.ts read an image: rows of eight columns and a ninth, for four windows each, with
 * minus infinity where the margin is.
 */
import type { FunctionBuilder, Local } from "../encoder/index.ts";
import { evenAndOdd, type Vector } from "./poolLanes.ts";
import { pickLanes } from "./rows.ts";

/** An image [H, W], its windows [P, Q], the margin above and to the left, and what a line of scratch memory takes. */
export const geometry = {
  planes: "i32",
  H: "i32",
  W: "i32",
  P: "i32",
  Q: "i32",
  top: "i32",
  left: "i32",
  lineBytes: "i32",
} as const;

/** One plane of x, and what the function that is called for it may write to. */
export const planeParameters = {
  ...geometry,
  x: "i32",
  xRow: "i32",
  y: "i32",
  yRow: "i32",
  lines: "i32",
} as const;
export type PlaneParameters = { readonly [Name in keyof typeof planeParameters]: Local<"i32"> };

/** The three columns of four windows in one row. */
export type Taps = readonly [first: Vector, second: Vector, third: Vector];

/** Four floats in the same lanes. */
const splat = (value: number) => new Float32Array(4).fill(value);
export const lowest = Number.NEGATIVE_INFINITY;

/** Where row `row` of the plane begins, counted from its margin; a row outside is the line `absent`. */
export function rowAt(f: FunctionBuilder, row: Local<"i32">, absent: Local<"i32">, p: PlaneParameters) {
  const { i32 } = f;
  const address = i32.sub(i32.add(p.x, i32.mul(row, p.xRow)), i32.shl(p.left, 2));
  return f.select(address, absent, i32.lt_u(row, p.H));
}

/**
 * Visits the windows of some rows, four at a time.
 *
 * @param margin what lanes outside of the image hold
 * @param sums to which all that is read of the first rows is added, margins too
 * @param visit gets each row's columns, and 32 bytes for every group of windows before
 */
export function forEachWindows(
  f: FunctionBuilder,
  rows: readonly Local<"i32">[],
  margin: number,
  { W, Q, left }: PlaneParameters,
  sums: readonly Vector[],
  visit: (taps: readonly Taps[], at: Local<"i32">) => void,
): void {
  const { i32, i32x4, v128 } = f;
  const at = f.local("i32", "at");
  const load = (row: Local<"i32">, offset: number) => v128.load(i32.add(row, at), offset);
  const loadInside = (row: Local<"i32">, offset: number) => {
    const column = f.let(i32.sub(i32.shr_u(i32.add(at, offset), 2), left));
    const columns = i32x4.add(i32x4.splat(column), v128.const(Int32Array.of(0, 1, 2, 3)));
    const inside = f.let(i32x4.lt_u(columns, i32x4.splat(W)));
    return v128.bitselect(load(row, offset), v128.const(splat(margin)), inside);
  };
  at.set(0);
  const vectors = rows.map((row, r) => [
    f.let(loadInside(row, 0), `columns${r}`),
    f.local("v128", `after${r}`),
    f.local("v128", `last${r}`),
  ]);
  const add = (r: number, vector: Vector) => {
    if (r < sums.length) sums[r].set(f.f32x4.add(sums[r], vector));
  };
  for (const [r, [columns]] of vectors.entries()) add(r, columns);
  const end = f.let(i32.shl(i32.and(i32.add(Q, 3), -4), 3), "end");
  /** The last group whose twelve columns all lie inside. */
  const inside = f.let(i32.sub(i32.shl(i32.add(W, left), 2), 48), "inside");
  f.forRange(at, 0, end, 32, () => {
    const loadAll = (from: typeof load) => () => {
      for (const [r, [, after, last]] of vectors.entries()) {
        after.set(from(rows[r], 16));
        last.set(from(rows[r], 32));
      }
    };
    f.if(i32.le_s(at, inside), loadAll(load), loadAll(loadInside));
    const taps = vectors.map(([columns, after, last]): Taps => {
      const [first, second] = evenAndOdd(f, columns, after);
      return [first, second, f.let(pickLanes(f, first, last, [1, 2, 3, 4]))];
    });
    visit(taps, at);
    for (const [r, [columns, after, last]] of vectors.entries()) {
      add(r, after);
      add(r, last);
      columns.set(last);
    }
  });
}

/** 1 where NaN was added to one of the sums, or infinities of both signs. */
export function holdsNaN(f: FunctionBuilder, sums: readonly Vector[]) {
  const { f32x4, v128 } = f;
  const unordered = sums.map((sum) => f.let(f32x4.ne(sum, sum)));
  return v128.any_true(unordered.reduce((some, one) => f.let(v128.or(some, one))));
}

/** Fills a line. */
export function fill(f: FunctionBuilder, line: Local<"i32">, bytes: Local<"i32">, value: number): void {
  const at = f.local("i32", "fillAt");
  f.forRange(at, 0, bytes, 16, () => f.v128.store(f.i32.add(line, at), f.v128.const(splat(value))));
}
