/** Packs the rows of a gathered image that an item of the weight gradient reads, over one block of positions. */
import type { FunctionHandle, ModuleBuilder } from "../../encoder/index.ts";
import type { TouchRows } from "../touch.ts";
import { type CopyNormed, coefficientBytes, type NormRelu } from "./normRelu.ts";
import type { PackSliver } from "./packSliver.ts";
import { planLayout } from "./plan.ts";
import type { CopyRow } from "./prepareImage.ts";
import { floatBytes } from "./record.ts";
import { columnsOf, type TileShape } from "./tile.ts";
import { tileLayout } from "./tileTable.ts";

const params = {
  plan: "i32",
  /** Where each row begins from `base`. */
  table: "i32",
  rows: "i32",
  base: "i32",
  images: "i32",
  /** Positions of an image. */
  positions: "i32",
  /** The first position of the block, and how many there are, with those beyond the last one of the images. */
  position: "i32",
  count: "i32",
  to: "i32",
  toRow: "i32",
  /** Of the first row, for a plan that is read where it lies and is to be normed; else 0. */
  coefficients: "i32",
} as const;
export type PackRows = FunctionHandle<typeof params, undefined>;

interface Parts {
  readonly packSliver: PackSliver;
  readonly copyRow: CopyRow;
  readonly copyNormed: CopyNormed;
  readonly normRelu: NormRelu;
  readonly touch: TouchRows;
}

/** (plan, table, rows, base, …): see the parameters. Positions beyond the last one become zeros. */
export function definePackRows(
  module: ModuleBuilder,
  shape: TileShape,
  { packSliver, copyRow, copyNormed, normRelu, touch }: Parts,
): PackRows {
  const width = columnsOf(shape);
  return module.func("packRows", { params, exported: false }, (f, p) => {
    const { i32, f32, v128 } = f;
    const [from, at, to, row, image] = ["from", "at", "out", "row", "image"].map((n) => f.local("i32", n));
    const [tile, column, wide, line] = ["tile", "column", "wide", "line"].map((n) => f.local("i32", n));
    const sourceChannel = f.let(planLayout.load(f, p.plan, "sourceChannel"), "sourceChannel");
    const atMost = (limit: typeof wide) => wide.set(f.select(wide, limit, i32.lt_s(wide, limit)));
    const inPlace = () => {
      // Planes without gaps: one long copy each, of all images of the batch or of a part of its only one.
      from.set(i32.add(i32.add(p.base, i32.load(p.table)), i32.shl(p.position, 2)));
      column.set(0);
      f.forRange(image, 0, p.images, 1, () => {
        wide.set(i32.sub(p.positions, p.position));
        atMost(p.count);
        f.call(touch, {
          ...{
            from,
            rowBytes: sourceChannel,
            rows: p.rows,
            bytes: i32.shl(wide, 2),
          },
          to: i32.add(p.to, i32.shl(column, 2)),
        });
        at.set(from);
        to.set(i32.add(p.to, i32.shl(column, 2)));
        line.set(p.coefficients);
        f.forRange(row, 0, p.rows, 1, () => {
          f.if(
            i32.and(i32.ne(line, 0), i32.ge_s(wide, 4)),
            () =>
              f.call(copyNormed, {
                ...{ from: at, to, count: wide, mean: v128.load32_splat(line) },
                ...{
                  slope: v128.load32_splat(line, 4),
                  constant: v128.load32_splat(line, 8),
                },
              }),
            () => {
              f.call(copyRow, { from: at, to, count: wide, step: floatBytes });
              f.if(line, () =>
                f.call(normRelu, {
                  ...{ at: to, rowBytes: 0, rows: 1, columns: wide },
                  ...{ coefficients: line, coefficientStep: 0 },
                }),
              );
            },
          );
          to.set(i32.add(to, p.toRow));
          at.set(i32.add(at, sourceChannel));
          line.set(f.select(f.let(i32.add(line, coefficientBytes)), 0, line));
        });
        column.set(i32.add(column, wide));
        from.set(i32.add(from, planLayout.load(f, p.plan, "sourceImage")));
      });
    };
    const bySlivers = () => {
      tile.set(i32.mul(i32.div_u(p.position, width), tileLayout.bytes(width)));
      tile.set(i32.add(tile, planLayout.load(f, p.plan, "tileTable")));
      to.set(p.to);
      f.forRange(column, 0, p.count, width, () => {
        f.call(packSliver, {
          to,
          toRow: p.toRow,
          base: p.base,
          tile,
          rows: p.table,
          depth: p.rows,
        });
        to.set(i32.add(to, floatBytes * width));
        tile.set(i32.add(tile, tileLayout.bytes(width)));
      });
    };
    f.if(planLayout.load(f, p.plan, "inPlace"), inPlace, bySlivers);
    // What follows the last position meets zeros of the gradient, which do not silence NaN.
    wide.set(i32.sub(i32.add(p.position, p.count), i32.mul(p.images, p.positions)));
    f.if(i32.gt_s(wide, 0), () => {
      to.set(i32.add(p.to, i32.shl(i32.sub(p.count, wide), 2)));
      f.forRange(row, 0, p.rows, 1, () => {
        f.forRange(column, 0, wide, 1, () => f32.store(i32.add(to, i32.shl(column, 2)), 0));
        to.set(i32.add(to, p.toRow));
      });
    });
  });
}
