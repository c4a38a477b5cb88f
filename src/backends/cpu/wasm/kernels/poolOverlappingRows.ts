/**
 * How the kernels of poolOverlapping.ts read an image: rows of eight columns and a ninth, for four windows each, with
 * minus infinity where the margin is.
 */
import type { FunctionBuilder, Local, Operand } from "../encoder/index.ts";
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
 * @param visit gets each row's columns, 32 bytes for every group of windows before, and whether all twelve columns that
 *   a group reads lie inside, and so its windows: it is called twice, since most groups need no tests of their own then
 */
export function forEachWindows(
  f: FunctionBuilder,
  rows: readonly Local<"i32">[],
  margin: number,
  { W, Q, left }: PlaneParameters,
  sums: readonly Vector[],
  visit: (taps: readonly Taps[], at: Local<"i32">, isInside: boolean) => void,
): void {
  const { i32, i32x4, v128 } = f;
  const at = f.local("i32", "at");
  const load = (row: Local<"i32">, offset: number) => v128.load(i32.add(row, at), offset);
  const outside = f.let(v128.const(splat(margin)), "outside");
  /** Reads as `load` does, with the margin where it is; the mask is made once for all rows. */
  const loaderInside = (offset: number) => {
    const column = f.let(i32.sub(i32.shr_u(i32.add(at, offset), 2), left));
    const columns = i32x4.add(i32x4.splat(column), v128.const(Int32Array.of(0, 1, 2, 3)));
    const inside = f.let(i32x4.lt_u(columns, i32x4.splat(W)), "isInside");
    return (row: Local<"i32">) => v128.bitselect(load(row, offset), outside, inside);
  };
  at.set(0);
  const loadFirst = loaderInside(0);
  const vectors = rows.map((row, r) => [
    f.let(loadFirst(row), `columns${r}`),
    f.local("v128", `after${r}`),
    f.local("v128", `last${r}`),
  ]);
  const add = (r: number, vector: Vector) => {
    if (r < sums.length) sums[r].set(f.f32x4.add(sums[r], vector));
  };
  for (const [r, [columns]] of vectors.entries()) add(r, columns);
  const end = f.let(i32.shl(i32.and(i32.add(Q, 3), -4), 3), "end");
  const loadAll = (loader: (offset: number) => (row: Local<"i32">) => Operand<"v128">) => () => {
    const [after, last] = [16, 32].map(loader);
    for (const [r, vector] of vectors.entries()) {
      vector[1].set(after(rows[r]));
      vector[2].set(last(rows[r]));
    }
  };
  const loadWhole = loadAll((offset) => (row) => load(row, offset));
  const visitLoaded = (isInside: boolean) => {
    // Here and not after the visit, which needs all registers.
    for (const [r, [, after, last]] of vectors.entries()) {
      add(r, after);
      add(r, last);
    }
    const taps = vectors.map(([columns, after, last]): Taps => {
      const [first, second] = evenAndOdd(f, columns, after);
      return [first, second, f.let(pickLanes(f, first, last, [1, 2, 3, 4]))];
    });
    visit(taps, at, isInside);
    for (const [columns, , last] of vectors) columns.set(last);
  };
  const margins = f.let(i32.shl(left, 2), "margins");
  /** The last group whose twelve columns all lie inside, and how far from the first one without margin it is. */
  const inside = f.let(i32.sub(i32.add(i32.shl(W, 2), margins), 48), "inside");
  const reach = f.let(i32.add(i32.sub(inside, margins), 1), "reach");
  f.if(i32.lt_s(reach, 0), () => reach.set(0));
  f.forRange(at, 0, end, 32, () => {
    f.if(
      i32.lt_u(i32.sub(at, margins), reach),
      () => {
        loadWhole();
        visitLoaded(true);
      },
      () => {
        f.if(i32.le_s(at, inside), loadWhole, loadAll(loaderInside));
        visitLoaded(false);
      },
    );
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
