/**
 * The input gradient of 3x3 windows of stride 2 with a margin of 1. Pixels come in pairs, an even column and the odd one
 * after it, and three products make a pair: one tap reaches the even pixel, two the odd one, and one of those reads
 * what the first has read. So both columns of a pair are computed by one tile, which reads the output gradient where it
 * lies with its margin, and rows of pairs are put together in registers and written once.
 *
 * Measured on one Zen 4 core with 256-bit vectors, against the four phases of the stride one after the other (narrow.ts,
 * product.ts): [8, 256, 56, 56] in 32 groups 27 to 42 GFLOP/s, [8, 512, 28, 28] 33 to 48, [8, 128, 56, 56] in one group
 * 74 to 86. Of the first, a third is memory taking the result, a tenth the columns being put together, a tenth the
 * margin. Tried: lines of the result touched while tiles are computed (39 to 40), strips of rows whose sums stay in the
 * first cache (38 to 41), both rows of a pair put together in one loop (40 to 41), whole channels put together in the
 * cache and copied (40).
 */
import type { FunctionHandle, Local, ModuleBuilder } from "../../encoder/index.ts";
import { multiplyAdd } from "../../runtime.ts";
import { pickLanes, storePairs } from "../rows.ts";
import type { PrepareImage } from "./prepareImage.ts";
import { planFields } from "./product.ts";
import { floatBytes } from "./record.ts";
import { columnsOf, type TileShape } from "./tile.ts";

/** Results of a tile: twice as many sums by four vectors, two vectors of gradients and a weight are 15 registers. */
export const pairRows = 3;
/** Taps of a row of the window: of the even column, and of the odd one, here and one further. */
const rowTaps = 3;

const tileParams = {
  a: "i32",
  base: "i32",
  table: "i32",
  depth: "i32",
  c: "i32",
  planeBytes: "i32",
} as const;
type PairTile = FunctionHandle<typeof tileParams, undefined>;

/**
 * (a, base, table, depth, c, planeBytes): sums of `rows` results at a tile's positions, even columns and `planeBytes`
 * further odd ones, then those of the next result. Step k is the row of gradients `table[k]` bytes from `base`, of which
 * a panel has three weights for every result, a tap after the other.
 */
function definePairTile(module: ModuleBuilder, shape: TileShape, rows: number): PairTile {
  const { vectors, fused } = shape;
  const name = `pairs_${rows}x${columnsOf(shape)}`;
  return module.func(name, { params: tileParams, exported: false }, (f, p) => {
    const { i32, v128, f32x4 } = f;
    const zero = f.let(f32x4.splat(0), "zero");
    const sums = Array.from({ length: 2 * rows * vectors }, (_, i) => f.local("v128", `sum${i}`));
    for (const sum of sums) sum.set(zero);
    const row = f.local("i32", "row");
    /** Adds a tap to the sums of even (0) or of odd columns (1). */
    const multiply = (tap: number, odd: number, right: readonly Local<"v128">[]) => {
      for (let r = 0; r < rows; r++) {
        const left = f.let(v128.load32_splat(p.a, floatBytes * (tap * rows + r)));
        for (const [v, vector] of right.entries()) {
          const sum = sums[(2 * r + odd) * vectors + v];
          sum.set(multiplyAdd(f, fused, left, vector, sum));
        }
      }
    };
    const load = (column: number) =>
      Array.from({ length: vectors }, (_, v) => f.let(v128.load(row, floatBytes * column + 16 * v)));
    const end = f.let(i32.add(p.table, i32.shl(p.depth, 2)), "end");
    f.forPointer(p.table, p.table, end, floatBytes * rowTaps, () => {
      row.set(i32.add(p.base, i32.load(p.table)));
      const here = load(0);
      // Between the two taps of an odd column comes that of the even one, so that the second need not wait for the first.
      multiply(1, 1, here);
      multiply(0, 0, here);
      multiply(2, 1, load(1));
      p.a.set(i32.add(p.a, floatBytes * rowTaps * rows));
    });
    for (let i = 0; i < 2 * rows; i++) {
      storePairs(f, p.c, sums.slice(i * vectors, (i + 1) * vectors));
      if (i < 2 * rows - 1) p.c.set(i32.add(p.c, p.planeBytes));
    }
  });
}

const joinParams = { even: "i32", odd: "i32", to: "i32", count: "i32" } as const;

/** (even, odd, to, count): a row of `count` pixels from those of its even and of its odd columns. */
function defineJoinColumns(module: ModuleBuilder): FunctionHandle<typeof joinParams, undefined> {
  return module.func("joinColumns", { params: joinParams, exported: false }, (f, p) => {
    const { i32, v128 } = f;
    const advance = (bytes: number) => {
      p.even.set(i32.add(p.even, bytes));
      p.odd.set(i32.add(p.odd, bytes));
      p.to.set(i32.add(p.to, 2 * bytes));
    };
    const end = f.let(i32.add(p.to, i32.shl(i32.and(p.count, -8), 2)), "end");
    f.while(
      () => i32.lt_u(p.to, end),
      () => {
        const [even, odd] = [f.let(v128.load(p.even)), f.let(v128.load(p.odd))];
        v128.store(p.to, pickLanes(f, even, odd, [0, 4, 1, 5]));
        v128.store(p.to, pickLanes(f, even, odd, [2, 6, 3, 7]), 16);
        advance(16);
      },
    );
    f.if(i32.and(p.count, 4), () => {
      const [even, odd] = [f.let(v128.load64_zero(p.even)), f.let(v128.load64_zero(p.odd))];
      v128.store(p.to, pickLanes(f, even, odd, [0, 4, 1, 5]));
      advance(8);
    });
    f.if(i32.and(p.count, 2), () => {
      f.f32.store(p.to, f.f32.load(p.even));
      f.f32.store(p.to, f.f32.load(p.odd), floatBytes);
      advance(4);
    });
    f.if(i32.and(p.count, 1), () => f.f32.store(p.to, f.f32.load(p.even)));
  });
}

/**
 * (begin, end, scratch, evenPlan, oddPlan, source, evenPanels, oddPanels, target, H, W): items of the plans of even and
 * of odd rows, which are cut alike. Scratch memory holds a panel's results for both, and the item's gradients.
 */
export function definePhasePairs(module: ModuleBuilder, shape: TileShape, prepare: PrepareImage): void {
  const width = columnsOf(shape);
  const tiles = Array.from({ length: pairRows }, (_, i) => definePairTile(module, shape, i + 1));
  const joinColumns = defineJoinColumns(module);
  const params = {
    ...({
      begin: "i32",
      end: "i32",
      scratch: "i32",
      evenPlan: "i32",
      oddPlan: "i32",
      source: "i32",
    } as const),
    ...({ evenPanels: "i32", oddPanels: "i32", target: "i32", H: "i32", W: "i32" } as const),
  };
  module.func("phasePairs", { params }, (f, given) => {
    const { begin, end, scratch, evenPlan, oddPlan, source, evenPanels, oddPanels, target, H, W } = given;
    const { i32 } = f;
    const p = planFields(f, evenPlan, [
      ...(["images", "rowsPerItem", "rowBlocks", "outputRows", "results", "rowBytes", "channels"] as const),
      ...(["sourceImage", "sourceGroup", "panels", "tallPanels", "panelRows"] as const),
      ...(["targetImage", "targetGroup", "targetChannel", "targetRow"] as const),
    ]);
    const locals = (...names: string[]) => names.map((name) => f.local("i32", name));
    const [item, group, image, row, rows, out] = locals("item", "group", "image", "row", "rows", "out");
    const [position, positions, c, panel, height] = locals("position", "positions", "c", "panel", "height");
    const [r, i, y, to, line, from] = locals("r", "i", "y", "to", "line", "from");
    const pitch = f.let(i32.shr_u(p.rowBytes, 2), "pitch");
    /** Positions of some rows, in whole tiles. */
    const positionsOf = (count: Local<"i32">) =>
      i32.mul(i32.div_u(i32.add(i32.mul(count, pitch), width - 1), width), width);
    const planeBytes = f.let(i32.shl(positionsOf(p.rowsPerItem), 2), "planeBytes");
    const sideBytes = f.let(i32.mul(planeBytes, 2 * pairRows), "sideBytes");
    const itemImage = f.let(i32.add(scratch, i32.shl(sideBytes, 1)), "itemImage");
    const sides = [
      { plan: evenPlan, panels: evenPanels, results: scratch },
      { plan: oddPlan, panels: oddPanels, results: f.let(i32.add(scratch, sideBytes), "oddResults") },
    ].map(({ plan, ...side }) => ({
      ...{ ...side, ...planFields(f, plan, ["depth", "rowTable"]) },
      a: f.local("i32", "a"),
    }));
    f.forRange(item, begin, end, 1, () => {
      row.set(i32.mul(i32.rem_u(item, p.rowBlocks), p.rowsPerItem));
      group.set(i32.div_u(item, p.rowBlocks));
      image.set(i32.rem_u(group, p.images));
      group.set(i32.div_u(group, p.images));
      rows.set(i32.sub(p.outputRows, row));
      rows.set(f.select(rows, p.rowsPerItem, i32.lt_s(rows, p.rowsPerItem)));
      positions.set(positionsOf(rows));
      from.set(i32.add(i32.mul(group, p.sourceGroup), i32.mul(image, p.sourceImage)));
      out.set(i32.add(i32.mul(group, p.targetGroup), i32.mul(image, p.targetImage)));
      f.call(prepare, {
        ...{ plan: evenPlan, from: i32.add(source, from), to: itemImage, images: 1, channels: p.channels },
        ...{ firstRow: row, coefficients: 0 },
      });
      out.set(i32.add(target, out));
      for (const { a, panels, depth } of sides)
        a.set(i32.add(panels, i32.shl(i32.mul(i32.mul(group, p.results), depth), 2)));
      f.forRange(panel, 0, p.panels, 1, () => {
        height.set(i32.add(p.panelRows, i32.lt_s(panel, p.tallPanels)));
        for (const { a, results, depth, rowTable: table } of sides) {
          c.set(results);
          f.forRange(position, 0, positions, width, () => {
            const base = f.let(i32.add(itemImage, i32.shl(position, 2)));
            for (const [t, tile] of [...tiles.entries()].reverse())
              f.if(i32.eq(height, t + 1), () => f.call(tile, { a, base, table, depth, c, planeBytes }));
            c.set(i32.add(c, floatBytes * width));
          });
          a.set(i32.add(a, i32.shl(i32.mul(height, depth), 2)));
        }
        f.forRange(r, 0, height, 1, () => {
          to.set(i32.add(out, i32.mul(i32.shl(row, 1), p.targetRow)));
          y.set(i32.shl(row, 1));
          line.set(i32.mul(i32.shl(r, 1), planeBytes));
          f.forRange(i, 0, rows, 1, () => {
            for (const { results } of sides) {
              f.if(i32.lt_s(y, H), () => {
                const even = f.let(i32.add(results, line));
                f.call(joinColumns, { even, odd: i32.add(even, planeBytes), to, count: W });
              });
              to.set(i32.add(to, p.targetRow));
              y.set(i32.add(y, 1));
            }
            line.set(i32.add(line, p.rowBytes));
          });
          out.set(i32.add(out, p.targetChannel));
        });
      });
    });
  });
}
