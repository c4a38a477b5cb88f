/** Lanes of pooling windows: four windows at a time, whose columns lie two by two in rows of eight. */
import type { FunctionBuilder, Local } from "../encoder/index.ts";
import { pickLanes } from "./rows.ts";

export type Vector = Local<"v128">;

/** Columns 0, 2, 4, 6 and 1, 3, 5, 7 of eight that lie in two vectors. */
export function evenAndOdd(
  f: FunctionBuilder,
  left: Vector,
  right: Vector,
): readonly [even: Vector, odd: Vector] {
  return [
    f.let(pickLanes(f, left, right, [0, 2, 4, 6]), "even"),
    f.let(pickLanes(f, left, right, [1, 3, 5, 7]), "odd"),
  ];
}

/** The eight columns whose even ones are `even` and whose odd ones are `odd`. */
export function interleave(
  f: FunctionBuilder,
  even: Vector,
  odd: Vector,
): readonly [left: Vector, right: Vector] {
  return [
    f.let(pickLanes(f, even, odd, [0, 4, 1, 5]), "left"),
    f.let(pickLanes(f, even, odd, [2, 6, 3, 7]), "right"),
  ];
}

/** Lanes in which `value` takes the lead from `best`, which came before it. */
export function takesLead(f: FunctionBuilder, value: Vector, best: Vector): Vector {
  return f.let(f.v128.or(f.f32x4.gt(value, best), f.f32x4.ne(value, value)));
}
