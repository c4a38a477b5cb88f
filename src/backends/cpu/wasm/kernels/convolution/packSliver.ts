/** Packs slivers of a product's right operand: as many columns as a tile, wherever they lie in the image. */
import type { FunctionHandle, Local, ModuleBuilder } from "../../encoder/index.ts";
import { storePairs } from "../rows.ts";
import { columnsOf, type TileShape } from "./tile.ts";
import { tileLayout } from "./tileTable.ts";

const sliverParams = {
  to: "i32",
  /** Bytes from one row of the sliver to the next. */
  toRow: "i32",
  base: "i32",
  tile: "i32",
  /** Where each row lies from a column's place. */
  rows: "i32",
  depth: "i32",
} as const;
export type PackSliver = FunctionHandle<typeof sliverParams, undefined>;

/** (to, toRow, base, tile, rows, depth): copies `depth` rows of a tile's columns, in vectors. */
export function definePackSliver(module: ModuleBuilder, shape: TileShape): PackSliver {
  const width = columnsOf(shape);
  return module.func(
    "packSliver",
    { params: sliverParams, exported: false },
    (f, { to, toRow, base, tile, rows, depth }) => {
      const { i32, v128, f32, i32x4 } = f;
      const end = f.let(i32.add(rows, i32.shl(depth, 2)), "end");
      const [row, out] = [f.local("i32", "row"), f.local("i32", "out")];
      const columnAt = (j: number): Local<"i32"> =>
        f.let(i32.add(base, i32.load(tile, tileLayout.gather + 4 * j)));
      /** Visits every row of the sliver with where it is written and where its operand lies. */
      const eachRow = (visit: () => void): void => {
        out.set(to);
        f.forPointer(row, rows, end, 4, () => {
          visit();
          out.set(i32.add(out, toRow));
        });
      };
      f.if(i32.load(tile, tileLayout.straight), () => {
        const first = columnAt(0);
        eachRow(() => {
          const from = f.let(i32.add(first, i32.load(row)));
          const vectors = Array.from({ length: width / 4 }, (_, v) => f.let(v128.load(from, 16 * v)));
          storePairs(f, out, vectors);
        });
        f.return();
      });
      for (let j = 0; j < width; j += 4) {
        const split = f.let(i32.load(tile, tileLayout.quads(width) + j), `split${j}`);
        const first = columnAt(j);
        f.if(
          i32.eq(split, 4),
          () => eachRow(() => v128.store(out, v128.load(i32.add(first, i32.load(row))), 4 * j)),
          () =>
            f.if(
              split,
              () => {
                const lanes = i32x4.lt_s(v128.const(Int32Array.of(0, 1, 2, 3)), i32x4.splat(split));
                const mask = f.let(lanes, `mask${j}`);
                const column = i32.load(i32.add(tile, i32.shl(split, 2)), tileLayout.gather + 4 * j);
                const second = f.let(i32.sub(i32.add(base, column), i32.shl(split, 2)), `second${j}`);
                eachRow(() => {
                  const from = f.let(i32.load(row));
                  const [head, rest] = [v128.load(i32.add(first, from)), v128.load(i32.add(second, from))];
                  v128.store(out, v128.bitselect(head, rest, mask), 4 * j);
                });
              },
              () => {
                const columns = [first, columnAt(j + 1), columnAt(j + 2), columnAt(j + 3)];
                eachRow(() => {
                  const from = f.let(i32.load(row));
                  for (const [i, column] of columns.entries())
                    f32.store(out, f32.load(i32.add(column, from)), 4 * (j + i));
                });
              },
            ),
        );
      }
    },
  );
}
