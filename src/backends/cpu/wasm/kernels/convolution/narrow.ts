/**
 * The product for few results, as grouped convolutions have them: packing a sliver would take as long as multiplying
 * it. So the rows of B are read where they lie in the padded image, and columns run over all its positions, margins
 * too: what came out for the margins stays behind when the rows are copied out. A tile is two halves that may lie
 * apart, so that images whose positions fill no whole number of tiles follow each other closely.
 *
 * Measured on [8, 128, 56, 56] in 32 groups, 3x3, one Zen 4 core: 35 GFLOP/s with slivers, 48 without; what is left is
 * the memory, 13 MB in and 13 MB out.
 */
import type { FunctionHandle, Local, ModuleBuilder } from "../../encoder/index.ts";
import { multiplyAdd } from "../../runtime.ts";
import { storePairs } from "../rows.ts";
import { walkHalfTiles } from "./halfTiles.ts";
import { coefficientBytes } from "./normRelu.ts";
import { planLayout } from "./plan.ts";
import type { CopyRow, PrepareImage } from "./prepareImage.ts";
import { planFields } from "./product.ts";
import { floatBytes } from "./record.ts";
import { defineScatterRow } from "./scatterRow.ts";
import { columnsOf, type TileShape, tileRows } from "./tile.ts";

const tileParams = {
  a: "i32",
  base: "i32",
  second: "i32",
  table: "i32",
  depth: "i32",
  c: "i32",
  rowBytes: "i32",
} as const;
type NarrowTile = FunctionHandle<typeof tileParams, undefined>;

/**
 * (a, base, second, table, depth, c, rowBytes): like product's tile, with row k of B `table[k]` bytes from `base`, and
 * its second half as far from `second`.
 */
function defineNarrowTile(module: ModuleBuilder, shape: TileShape, rows: number): NarrowTile {
  const { vectors, fused } = shape;
  return module.func(
    `narrow_${rows}x${columnsOf(shape)}`,
    { params: tileParams, exported: false },
    (f, { a, base, second, table, depth, c, rowBytes }) => {
      const { i32, v128, f32x4 } = f;
      const zero = f.let(f32x4.splat(0), "zero");
      const sums = Array.from({ length: rows * vectors }, (_, i) => f.local("v128", `sum${i}`));
      for (const sum of sums) sum.set(zero);
      const right = Array.from({ length: vectors }, (_, i) => f.local("v128", `right${i}`));
      const [left, at, row] = [f.local("v128", "left"), f.local("i32", "at"), f.local("i32", "row")];
      const half = vectors / 2;
      const end = f.let(i32.add(table, i32.shl(depth, 2)), "end");
      f.forPointer(table, table, end, 4, () => {
        at.set(i32.load(table));
        row.set(i32.add(base, at));
        for (let v = 0; v < half; v++) right[v].set(v128.load(row, 16 * v));
        row.set(i32.add(second, at));
        for (let v = 0; v < half; v++) right[half + v].set(v128.load(row, 16 * v));
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
        storePairs(f, c, sums.slice(r * vectors, (r + 1) * vectors));
        if (r < rows - 1) c.set(i32.add(c, rowBytes));
      }
    },
  );
}

/**
 * (begin, end, scratch, plan, source, panels, target, coefficients): as `gatheredProduct`, for plans of one block of
 * the depth. Scratch memory holds the results of an item, half tile by half tile, and the image.
 *
 * And `narrowPhases`, (begin, end, scratch, source, target, panels, table, phases): the same items of several plans one
 * after the other, so that what they write between each other is written once to memory. An entry of the table is a
 * plan's address, and how many bytes its panels and its target are from those given. [8, 256, 56, 56] in 32 groups,
 * stride 2, input gradient on one thread: 16 GFLOP/s phase by phase, 26 so; a third of it is memory waiting for rows of
 * results.
 */
export function defineNarrowProduct(
  module: ModuleBuilder,
  shape: TileShape,
  prepare: PrepareImage,
  copyRow: CopyRow,
): void {
  const width = columnsOf(shape);
  const halfBytes = (floatBytes * width) / 2;
  const tiles = Array.from({ length: tileRows }, (_, i) => defineNarrowTile(module, shape, i + 1));
  const scatterRow = defineScatterRow(module);
  const params = {
    ...({ begin: "i32", end: "i32", scratch: "i32", plan: "i32", source: "i32" } as const),
    ...({ panels: "i32", target: "i32", coefficients: "i32" } as const),
  };
  const narrowProduct = module.func("narrowProduct", { params }, (f, given) => {
    const { begin, end, scratch, plan, source, panels, target, coefficients } = given;
    const { i32 } = f;
    const p = planFields(f, plan, [
      ...(["results", "depth", "rowTable", "rowsPerItem", "imageBlocks", "rowBlocks", "outputRows"] as const),
      ...(["outputColumns", "rowBytes", "channels", "panels", "tallPanels", "panelRows"] as const),
      ...(["targetChannel", "targetRow", "targetColumn", "imagesPerItem", "imageBytes"] as const),
    ]);
    const names = ["item", "group", "image", "images", "row", "rows", "from", "out", "line"];
    const [item, group, image, images, row, rows, from, out, line] = names.map((name) =>
      f.local("i32", name),
    );
    const [panel, height, a, c, result, r] = ["panel", "height", "a", "c", "result", "r"].map((name) =>
      f.local("i32", name),
    );
    const [half, halves] = ["half", "halves"].map((name) => f.local("i32", name));
    const walk = walkHalfTiles(f, p, width);
    const [base, second, to, resultAt] = ["base", "second", "to", "resultAt"].map((name) =>
      f.local("i32", name),
    );
    const smaller = (x: Local<"i32">, y: Local<"i32">) => f.select(x, y, i32.lt_s(x, y));
    const itemHalves = f.let(i32.mul(p.imagesPerItem, walk.countOf(p.rowsPerItem)), "itemHalves");
    const resultBytes = f.let(i32.mul(i32.and(i32.add(itemHalves, 1), -2), halfBytes), "resultBytes");
    const itemImage = f.let(i32.add(scratch, i32.mul(p.results, resultBytes)), "itemImage");
    f.forRange(item, begin, end, 1, () => {
      row.set(i32.mul(i32.rem_u(item, p.rowBlocks), p.rowsPerItem));
      group.set(i32.div_u(item, p.rowBlocks));
      image.set(i32.mul(i32.rem_u(group, p.imageBlocks), p.imagesPerItem));
      group.set(i32.div_u(group, p.imageBlocks));
      images.set(i32.sub(planLayout.load(f, plan, "images"), image));
      images.set(smaller(images, p.imagesPerItem));
      rows.set(i32.sub(p.outputRows, row));
      rows.set(smaller(rows, p.rowsPerItem));
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
        ...{ plan, from, to: itemImage, images, channels: p.channels },
        ...{ firstRow: row, coefficients: line },
      });
      walk.begin(itemImage, walk.countOf(rows));
      halves.set(i32.mul(images, walk.imageHalves));
      f.forRange(half, 0, halves, 2, () => {
        a.set(i32.add(panels, i32.shl(i32.mul(i32.mul(group, p.results), p.depth), 2)));
        c.set(i32.add(scratch, i32.mul(half, halfBytes)));
        walk.take(base);
        // The last one may be alone; nobody reads what is computed beside it.
        second.set(base);
        f.if(i32.lt_s(i32.add(half, 1), halves), () => walk.take(second));
        f.forRange(panel, 0, p.panels, 1, () => {
          height.set(i32.add(p.panelRows, i32.lt_s(panel, p.tallPanels)));
          for (const [i, tile] of [...tiles.entries()].reverse())
            f.if(i32.eq(height, i + 1), () =>
              f.call(tile, { a, base, second, table: p.rowTable, depth: p.depth, c, rowBytes: resultBytes }),
            );
          a.set(i32.add(a, i32.shl(i32.mul(height, p.depth), 2)));
          c.set(i32.add(c, i32.mul(height, resultBytes)));
        });
      });
      f.forRange(result, 0, p.results, 1, () => {
        resultAt.set(i32.add(scratch, i32.mul(result, resultBytes)));
        to.set(i32.add(out, i32.mul(result, p.targetChannel)));
        f.forRange(image, 0, images, 1, () => {
          c.set(resultAt);
          a.set(to);
          f.forRange(r, 0, rows, 1, () => {
            f.if(
              i32.eq(p.targetColumn, floatBytes),
              () => f.call(copyRow, { from: c, to: a, count: p.outputColumns, step: floatBytes }),
              () => f.call(scatterRow, { from: c, to: a, count: p.outputColumns, step: p.targetColumn }),
            );
            c.set(i32.add(c, p.rowBytes));
            a.set(i32.add(a, p.targetRow));
          });
          resultAt.set(i32.add(resultAt, i32.mul(walk.imageHalves, halfBytes)));
          to.set(i32.add(to, planLayout.load(f, plan, "targetImage")));
        });
      });
    });
  });
  const phaseParams = {
    ...({ begin: "i32", end: "i32", scratch: "i32", source: "i32", target: "i32", panels: "i32" } as const),
    ...({ table: "i32", phases: "i32" } as const),
  };
  module.func("narrowPhases", { params: phaseParams }, (f, p) => {
    const { i32 } = f;
    const [item, phase, entry] = ["item", "phase", "entry"].map((name) => f.local("i32", name));
    f.forRange(item, p.begin, p.end, 1, () => {
      entry.set(p.table);
      f.forRange(phase, 0, p.phases, 1, () => {
        f.call(narrowProduct, {
          ...{ begin: item, end: i32.add(item, 1), scratch: p.scratch, source: p.source, coefficients: 0 },
          plan: f.word(entry, 0),
          panels: i32.add(p.panels, f.word(entry, 1)),
          target: i32.add(p.target, f.word(entry, 2)),
        });
        entry.set(i32.add(entry, 3 * f.wordBytes));
      });
    });
  });
}
