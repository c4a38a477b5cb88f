/**
 * How the kernels of poolOverlapping.ts read an image: rows of eight columns and a ninth, for four windows each, with
 * minus infinity where the margin is.
 */
import type { Expression, FunctionBuilder, Local, Operand } from "../encoder/index.ts";
import { multiplyAdd } from "../runtime.ts";
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

/** The lanes of four columns from `at` on, counted from the margin, that lie inside of the image. */
function lanesInside(f: FunctionBuilder, at: Operand<"i32">, { W, left }: PlaneParameters): Vector {
  const { i32, i32x4, v128 } = f;
  const column = f.let(i32.sub(i32.shr_u(at, 2), left));
  const columns = i32x4.add(i32x4.splat(column), v128.const(Int32Array.of(0, 1, 2, 3)));
  return f.let(i32x4.lt_u(columns, i32x4.splat(W)), "isInside");
}

/** Gets each row's columns, 16 bytes for every group of windows before, and whether no window touches a margin. */
type OnWindows = (taps: readonly Taps[], place: Local<"i32">, isInside: boolean) => void;

/** Where in a row of the image the columns of the windows at `place` begin. */
export function columnsAt(f: FunctionBuilder, row: Local<"i32">, place: Local<"i32">) {
  return f.i32.add(row, f.i32.shl(place, 1));
}

/**
 * Reads rows of a plane four windows at a time, with minus infinity where the margin is.
 *
 * Groups without margin have a loop of their own: with tests in it, and with what both kinds of groups have in
 * registers brought together after each, it took a sixth more instructions. The first group is not among them.
 *
 * @param options.fused whether multiply-adds may be fused
 * @param options.watched how many of the rows that are visited together are looked through for NaN: each row should be
 *   once. Columns are multiplied two by two and added up, an instruction for eight numbers, and NaN goes through; the
 *   first column of a group is the third of the one before. A margin makes the sum infinite, never NaN: what may lie in
 *   one is squared. Infinities in the image may seem NaN.
 */
export function windowReader(
  f: FunctionBuilder,
  p: PlaneParameters,
  { fused, watched }: { readonly fused: boolean; readonly watched: number },
) {
  const { i32, f32x4, v128 } = f;
  /** The last group whose nine columns do not go beyond the image. */
  const lastInside = f.let(i32.shl(i32.sub(i32.add(p.W, p.left), 9), 1), "lastInside");
  const end = f.let(i32.shl(i32.and(i32.add(p.Q, 3), -4), 2), "end");
  const firstInside = lanesInside(f, i32.const(0), p);
  const outside = f.let(f32x4.splat(lowest), "outside");
  const sums = Array.from({ length: watched }, (_, r) => f.local("v128", `sum${r}`));
  const place = f.local("i32", "place");

  const forEachWindows = (rows: readonly Local<"i32">[], onWindows: OnWindows): void => {
    /** Eight columns of every row, and a ninth in the first lane. */
    const vectors = rows.map((_, r) =>
      ["columns", "after", "ninth"].map((name) => f.local("v128", `${name}${r}`)),
    );
    const load = (row: Local<"i32">, offset: number) => v128.load(columnsAt(f, row, place), offset);
    const visit = (isInside: boolean) => {
      const taps = vectors.map(([columns, after, ninth]): Taps => {
        const [first, second] = evenAndOdd(f, columns, after);
        return [first, second, f.let(pickLanes(f, first, ninth, [1, 2, 3, 4]))];
      });
      // Here and not after the visit, which needs all registers.
      for (const [r, sum] of sums.slice(0, rows.length).entries()) {
        const [, second, third] = taps[r];
        const pairs = isInside ? [[second, third]] : taps[r].map((tap) => [tap, tap]);
        for (const [a, b] of pairs) sum.set(multiplyAdd(f, fused, a, b, sum));
      }
      onWindows(taps, place, isInside);
      place.set(i32.add(place, 16));
    };
    const loadGroup = (first: (columns: Expression<"v128">) => Operand<"v128">) => {
      for (const [r, [columns, after, ninth]] of vectors.entries()) {
        columns.set(first(load(rows[r], 0)));
        after.set(load(rows[r], 16));
        ninth.set(v128.load32_zero(columnsAt(f, rows[r], place), 32));
      }
    };
    const loadLanes = () => {
      for (const [i, offset] of [0, 16, 32].entries()) {
        const inside = lanesInside(f, i32.add(i32.shl(place, 1), offset), p);
        for (const [r, vector] of vectors.entries())
          vector[i].set(v128.bitselect(load(rows[r], offset), outside, inside));
      }
    };
    place.set(0);
    f.while(
      () => i32.lt_s(place, end),
      () => {
        f.if(i32.gt_s(place, 0), () => {
          f.while(
            () => i32.le_s(place, lastInside),
            () => {
              loadGroup((columns) => columns);
              visit(true);
            },
          );
        });
        f.if(i32.lt_s(place, end), () => {
          f.if(
            i32.le_s(place, lastInside),
            () => loadGroup((columns) => v128.bitselect(columns, outside, firstInside)),
            loadLanes,
          );
          visit(false);
        });
      },
    );
  };

  return {
    forEachWindows,
    /** 1 if there may have been NaN. */
    mayHaveNaN: () => {
      const unordered = sums.map((sum) => f.let(f32x4.ne(sum, sum)));
      return v128.any_true(unordered.reduce((some, one) => f.let(v128.or(some, one))));
    },
  };
}

/** Fills a line. */
export function fill(f: FunctionBuilder, line: Local<"i32">, bytes: Local<"i32">, value: number): void {
  const at = f.local("i32", "fillAt");
  f.forRange(at, 0, bytes, 16, () => f.v128.store(f.i32.add(line, at), f.v128.const(splat(value))));
}
