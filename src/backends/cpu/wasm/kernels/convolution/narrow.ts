/**
 * The product for few results, as grouped convolutions have them: packing a sliver would take as long as multiplying
 * it. So the rows of B are read where they lie in the padded image, and columns run over all its positions, margins
 * too: every tile is straight then, and what came out for the margins stays behind when the rows are copied out.
 *
 * Measured on [8, 128, 56, 56] in 32 groups, 3x3, one Zen 4 core: 35 GFLOP/s with slivers, 48 without; what is left is
 * the memory, 13 MB in and 13 MB out.
 */
import type { FunctionHandle, ModuleBuilder } from "../../encoder/index.ts";
import { multiplyAdd } from "../../runtime.ts";
import type { CopyRow, PrepareImage } from "./gather.ts";
import { coefficientBytes } from "./normRelu.ts";
import { planLayout } from "./plan.ts";
import { planFields } from "./product.ts";
import { floatBytes } from "./record.ts";
import { columnsOf, type TileShape, tileRows } from "./tile.ts";

const tileParams = { a: "i32", base: "i32", table: "i32", depth: "i32", c: "i32", rowBytes: "i32" } as const;
type NarrowTile = FunctionHandle<typeof tileParams, undefined>;

/** (a, base, table, depth, c, rowBytes): like product's tile, with row k of B `table[k]` bytes from `base`. */
function defineNarrowTile(module: ModuleBuilder, shape: TileShape, rows: number): NarrowTile {
  const { vectors, fused } = shape;
  return module.func(
    `narrow_${rows}x${columnsOf(shape)}`,
    { params: tileParams, exported: false },
    (f, { a, base, table, depth, c, rowBytes }) => {
      const { i32, v128, f32x4 } = f;
      const zero = f.let(f32x4.splat(0), "zero");
      const sums = Array.from({ length: rows * vectors }, (_, i) => f.local("v128", `sum${i}`));
      for (const sum of sums) sum.set(zero);
      const right = Array.from({ length: vectors }, (_, i) => f.local("v128", `right${i}`));
      const [left, row] = [f.local("v128", "left"), f.local("i32", "row")];
      const end = f.let(i32.add(table, i32.shl(depth, 2)), "end");
      f.forPointer(table, table, end, 4, () => {
        row.set(i32.add(base, i32.load(table)));
        for (const [v, vector] of right.entries()) vector.set(v128.load(row, 16 * v));
        for (let r = 0; r < rows; r++) {
          left.set(v128.load32_splat(a, 4 * r));
          for (const [v, vector] of right.entries()) {
            const sum = sums[r * vectors + v];
            sum.set(multiplyAdd(f, fused, left, vector, sum));
          }
        }
        a.set(i32.add(a, 4 * rows));
      });
      for (let r = 0; r < rows; r++) {
        for (let v = 0; v < vectors; v++) v128.store(c, sums[r * vectors + v], 16 * v);
        if (r < rows - 1) c.set(i32.add(c, rowBytes));
      }
    },
  );
}

/**
 * (begin, end, scratch, plan, source, panels, target, coefficients): as `gatheredProduct`, for plans of one image an
 * item, one block of the depth and results side by side. Scratch memory holds the results of
 * an item in rows as wide as the image with its margin, and the image.
 */
export function defineNarrowProduct(
  module: ModuleBuilder,
  shape: TileShape,
  prepare: PrepareImage,
  copyRow: CopyRow,
): void {
  const width = columnsOf(shape);
  const tiles = Array.from({ length: tileRows }, (_, i) => defineNarrowTile(module, shape, i + 1));
  const params = {
    ...({ begin: "i32", end: "i32", scratch: "i32", plan: "i32", source: "i32" } as const),
    ...({ panels: "i32", target: "i32", coefficients: "i32" } as const),
  };
  module.func("narrowProduct", { params }, (f, given) => {
    const { begin, end, scratch, plan, source, panels, target, coefficients } = given;
    const { i32 } = f;
    const p = planFields(f, plan, [
      ...(["results", "depth", "rowTable", "rowsPerItem", "imageBlocks", "rowBlocks", "outputRows"] as const),
      ...(["outputColumns", "rowBytes", "channels", "panels", "tallPanels", "panelRows"] as const),
      ...(["targetChannel", "targetRow"] as const),
    ]);
    const names = ["item", "group", "image", "row", "rows", "from", "out", "line", "column", "positions"];
    const [item, group, image, row, rows, from, out, line, column, positions] = names.map((name) =>
      f.local("i32", name),
    );
    const [panel, height, a, c, result, r] = ["panel", "height", "a", "c", "result", "r"].map((name) =>
      f.local("i32", name),
    );
    const wide = i32.and(i32.add(i32.mul(p.rowsPerItem, i32.shr_u(p.rowBytes, 2)), width - 1), -width);
    const resultBytes = f.let(i32.shl(wide, 2), "resultBytes");
    const itemImage = f.let(i32.add(scratch, i32.mul(p.results, resultBytes)), "itemImage");
    f.forRange(item, begin, end, 1, () => {
      row.set(i32.mul(i32.rem_u(item, p.rowBlocks), p.rowsPerItem));
      group.set(i32.div_u(item, p.rowBlocks));
      image.set(i32.rem_u(group, p.imageBlocks));
      group.set(i32.div_u(group, p.imageBlocks));
      rows.set(i32.sub(p.outputRows, row));
      rows.set(f.select(rows, p.rowsPerItem, i32.lt_s(rows, p.rowsPerItem)));
      const sourceAt = i32.add(
        i32.mul(group, planLayout.load(f, plan, "sourceGroup")),
        i32.mul(image, planLayout.load(f, plan, "sourceImage")),
      );
      from.set(i32.add(source, sourceAt));
      const targetAt = i32.add(
        i32.mul(group, planLayout.load(f, plan, "targetGroup")),
        i32.add(i32.mul(image, planLayout.load(f, plan, "targetImage")), i32.mul(row, p.targetRow)),
      );
      out.set(i32.add(target, targetAt));
      line.set(i32.add(coefficients, i32.mul(i32.mul(group, p.channels), coefficientBytes)));
      line.set(f.select(line, 0, coefficients));
      f.call(prepare, {
        ...{ plan, from, to: itemImage, images: 1, channels: p.channels },
        ...{ firstRow: row, coefficients: line },
      });
      positions.set(i32.mul(rows, i32.shr_u(p.rowBytes, 2)));
      f.forRange(column, 0, positions, width, () => {
        a.set(i32.add(panels, i32.shl(i32.mul(i32.mul(group, p.results), p.depth), 2)));
        c.set(i32.add(scratch, i32.shl(column, 2)));
        const at = f.let(i32.add(itemImage, i32.shl(column, 2)), "at");
        f.forRange(panel, 0, p.panels, 1, () => {
          height.set(i32.add(p.panelRows, i32.lt_s(panel, p.tallPanels)));
          for (const [i, tile] of [...tiles.entries()].reverse())
            f.if(i32.eq(height, i + 1), () =>
              f.call(tile, { a, base: at, table: p.rowTable, depth: p.depth, c, rowBytes: resultBytes }),
            );
          a.set(i32.add(a, i32.shl(i32.mul(height, p.depth), 2)));
          c.set(i32.add(c, i32.mul(height, resultBytes)));
        });
      });
      f.forRange(result, 0, p.results, 1, () => {
        c.set(i32.add(scratch, i32.mul(result, resultBytes)));
        a.set(i32.add(out, i32.mul(result, p.targetChannel)));
        f.forRange(r, 0, rows, 1, () => {
          f.call(copyRow, { from: c, to: a, count: p.outputColumns, step: floatBytes });
          c.set(i32.add(c, p.rowBytes));
          a.set(i32.add(a, p.targetRow));
        });
      });
    });
  });
}
