/**
 * The product of a block's transformed squares by weights: the rows are squares, whose channels lie side by side, and
 * the columns are results.
 */
import type { FunctionHandle, Local, ModuleBuilder } from "../../encoder/index.ts";
import { multiplyAdd } from "../../runtime.ts";
import { storePairs } from "../rows.ts";
import { pixelBytes } from "./channelsLast.ts";
import { floatBytes } from "./record.ts";
import { columnsOf, type TileShape } from "./tile.ts";

/** Channels of one turn of the loop, or a multiple: with 128 bits V8 keeps what several need in too many registers. */
export const squareSteps = 4;
const turnOf = ({ vectors }: TileShape): number => (vectors > 2 ? squareSteps : 1);

const params = { squares: "i32", squareBytes: "i32", weights: "i32", steps: "i32", sums: "i32" } as const;
export type SquareTile = FunctionHandle<typeof params, undefined>;

/**
 * (squares, squareBytes, weights, steps, sums): `rows` squares of `steps` channels, a multiple of `squareSteps`, by
 * weights `[channel][result]`, whose rows, as those of the sums, are a pixel's.
 */
export function defineSquareTile(module: ModuleBuilder, shape: TileShape, rows: number): SquareTile {
  const { vectors, fused } = shape;
  const name = `squares_${rows}x${columnsOf(shape)}`;
  return module.func(name, { params, exported: false }, (f, p) => {
    const { i32, v128, f32x4 } = f;
    const turn = turnOf(shape);
    const zero = f.let(f32x4.splat(0), "zero");
    const sums = Array.from({ length: rows * vectors }, (_, i) => f.local("v128", `sum${i}`));
    for (const sum of sums) sum.set(zero);
    const right = Array.from({ length: vectors }, (_, i) => f.local("v128", `right${i}`));
    const left = f.local("v128", "left");
    const pointers: Local<"i32">[] = [p.squares];
    while (pointers.length < rows)
      pointers.push(f.let(i32.add(pointers[pointers.length - 1], p.squareBytes), `square${pointers.length}`));
    const end = f.let(i32.add(p.weights, i32.mul(p.steps, pixelBytes)), "end");
    f.forPointer(p.weights, p.weights, end, pixelBytes * turn, () => {
      for (let step = 0; step < turn; step++) {
        for (const [v, vector] of right.entries())
          vector.set(v128.load(p.weights, pixelBytes * step + 16 * v));
        for (const [r, pointer] of pointers.entries()) {
          left.set(v128.load32_splat(pointer, floatBytes * step));
          for (const [v, vector] of right.entries()) {
            const sum = sums[r * vectors + v];
            sum.set(multiplyAdd(f, fused, left, vector, sum));
          }
        }
      }
      for (const pointer of pointers) pointer.set(i32.add(pointer, floatBytes * turn));
    });
    for (let r = 0; r < rows; r++)
      storePairs(f, p.sums, sums.slice(r * vectors, (r + 1) * vectors), pixelBytes * r);
  });
}
