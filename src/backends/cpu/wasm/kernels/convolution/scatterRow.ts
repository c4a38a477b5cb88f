/** Puts the results of one phase of a stride between those of the others. */
import type { FunctionHandle, ModuleBuilder } from "../../encoder/index.ts";

const params = { from: "i32", to: "i32", count: "i32", step: "i32" } as const;

/** Bytes of a float of the first (0 to 3) or the second vector (4 to 7), for a shuffle. */
const lanes = (floats: readonly number[]): number[] =>
  floats.flatMap((float) => [0, 1, 2, 3].map((byte) => 4 * float + byte));

/**
 * (from, to, count, step): `count` floats that lie side by side, to places `step` bytes apart. With a step of two
 * floats, those between are read and written back, four results at a time.
 */
export function defineScatterRow(module: ModuleBuilder): FunctionHandle<typeof params, undefined> {
  return module.func("scatterRow", { params, exported: false }, (f, { from, to, count, step }) => {
    const { i32, f32, v128, i8x16 } = f;
    const end = f.let(i32.add(from, i32.shl(count, 2)), "end");
    f.if(i32.eq(step, 8), () => {
      // The last vector's second half would reach beyond the row, which may be another thread's.
      const whole = f.let(i32.sub(end, 16), "whole");
      f.while(
        () => i32.lt_u(from, whole),
        () => {
          const values = f.let(v128.load(from));
          const [before, after] = [f.let(v128.load(to)), f.let(v128.load(to, 16))];
          v128.store(to, i8x16.shuffle(values, before, lanes([0, 5, 1, 7])));
          v128.store(to, i8x16.shuffle(values, after, lanes([2, 5, 3, 7])), 16);
          from.set(i32.add(from, 16));
          to.set(i32.add(to, 32));
        },
      );
    });
    f.forPointer(from, from, end, 4, () => {
      f32.store(to, f32.load(from));
      to.set(i32.add(to, step));
    });
  });
}
