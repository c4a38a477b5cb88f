/** The product over an item: slivers of gathered columns against all panels, block by block of the depth. */
import type { FunctionBuilder, Local, ModuleBuilder } from "../../encoder/index.ts";
import type { TouchRows } from "../touch.ts";
import { coefficientBytes, type NormRelu } from "./normRelu.ts";
import type { PackSliver } from "./packSliver.ts";
import { planLayout } from "./plan.ts";
import type { PrepareImage } from "./prepareImage.ts";
import { floatBytes } from "./record.ts";
import { columnsOf, defineProductTile, type TileShape, tileRows } from "./tile.ts";
import { tileLayout } from "./tileTable.ts";

/**
 * Columns of an image read in place that are touched at a time: every channel lies in a page of its own, so that slivers
 * wait for each of their lines. 224 to 112 channels on 56 x 56 gain 3 %; with 64 columns 2, with 256 and many channels
 * none.
 */
const touchedColumns = 128;

/** Reads fields of a plan into locals. */
export function planFields<Name extends (typeof planLayout.fields)[number]>(
  f: FunctionBuilder,
  plan: Local<"i32">,
  names: readonly Name[],
): Readonly<Record<Name, Local<"i32">>> {
  const entries = names.map((name) => [name, f.let(planLayout.load(f, plan, name), name)] as const);
  return Object.fromEntries(entries) as Record<Name, Local<"i32">>;
}

const blockParams = {
  plan: "i32",
  panels: "i32",
  sliver: "i32",
  steps: "i32",
  to: "i32",
  rowBytes: "i32",
  firstPanel: "i32",
  lastPanel: "i32",
} as const;

/** Panels `firstPanel` to before `lastPanel` of a block, which begin at `panels`, against one sliver. */
function defineBlock(module: ModuleBuilder, shape: TileShape, accumulate: boolean) {
  const tiles = Array.from({ length: tileRows }, (_, i) =>
    defineProductTile(module, shape, i + 1, accumulate),
  );
  return module.func(
    accumulate ? "addBlock" : "firstBlock",
    { params: blockParams, exported: false },
    (f, { plan, panels, sliver, steps, to, rowBytes, firstPanel, lastPanel }) => {
      const { i32 } = f;
      const { tallPanels, panelRows } = planFields(f, plan, ["tallPanels", "panelRows"]);
      const [panel, rows] = [f.local("i32", "panel"), f.local("i32", "rows")];
      f.forRange(panel, firstPanel, lastPanel, 1, () => {
        rows.set(i32.add(panelRows, i32.lt_s(panel, tallPanels)));
        for (const [i, tile] of [...tiles.entries()].reverse())
          f.if(i32.eq(rows, i + 1), () =>
            f.call(tile, { a: panels, b: sliver, depth: steps, c: to, rowBytes }),
          );
        panels.set(i32.add(panels, i32.shl(i32.mul(rows, steps), 2)));
        to.set(i32.add(to, i32.mul(rows, rowBytes)));
      });
    },
  );
}

/**
 * (begin, end, scratch, plan, source, panels, target, coefficients): items of a plan; coefficients 0: the source as it
 * is. Scratch memory holds the item's image, a sliver of `block` rows, and a tile of all results for columns whose
 * results do not lie side by side.
 */
export function defineGatheredProduct(
  module: ModuleBuilder,
  shape: TileShape,
  prepare: PrepareImage,
  packSliver: PackSliver,
  normRelu: NormRelu,
  touch: TouchRows,
): void {
  const width = columnsOf(shape);
  const [firstBlock, addBlock] = [defineBlock(module, shape, false), defineBlock(module, shape, true)];
  module.func(
    "gatheredProduct",
    {
      params: {
        begin: "i32",
        end: "i32",
        scratch: "i32",
        plan: "i32",
        source: "i32",
        panels: "i32",
        target: "i32",
        coefficients: "i32",
      },
    },
    (f, { begin, end, scratch, plan, source, panels, target, coefficients }) => {
      const { i32, f32 } = f;
      const p = planFields(f, plan, [
        ...(["results", "depth", "block", "rowTable", "tileTable", "imagesPerItem", "rowsPerItem"] as const),
        ...(["imageBlocks", "rowBlocks", "outputColumns", "inPlace", "targetChannel", "rowBytes"] as const),
        ...(["panelBlocks", "panelsPerItem", "panels", "tallPanels", "panelRows"] as const),
        ...(["columnBlocks", "columnsPerItem"] as const),
      ]);
      const names = ["item", "group", "image", "row", "images", "rows", "columns", "base", "out", "from"];
      const [item, group, image, row, images, rows, columns, base, out, from] = names.map((name) =>
        f.local("i32", name),
      );
      const smaller = (a: Local<"i32">, b: Local<"i32">) => f.select(a, b, i32.lt_s(a, b));
      const tileImage = f.let(i32.add(scratch, i32.shl(i32.mul(p.block, width), 2)), "tileImage");
      const itemImage = f.let(i32.add(tileImage, i32.shl(i32.mul(p.results, width), 2)), "itemImage");
      const [column, tile, valid, to, toRow] = ["column", "tile", "valid", "to", "toRow"].map((name) =>
        f.local("i32", name),
      );
      const [step, steps, panel, direct] = ["step", "steps", "panel", "direct"].map((name) =>
        f.local("i32", name),
      );
      const touched = f.let(i32.const(touchedColumns), "touched");
      const [result, j, line] = [f.local("i32", "result"), f.local("i32", "j"), f.local("i32", "line")];
      const [firstColumn, lastColumn] = [f.local("i32", "firstColumn"), f.local("i32", "lastColumn")];
      const [firstPanel, lastPanel, firstResult, results] = [
        ...["firstPanel", "lastPanel", "firstResult", "results"],
      ].map((name) => f.local("i32", name));
      f.forRange(item, begin, end, 1, () => {
        firstPanel.set(i32.mul(i32.rem_u(item, p.panelBlocks), p.panelsPerItem));
        lastPanel.set(i32.add(firstPanel, p.panelsPerItem));
        lastPanel.set(smaller(lastPanel, p.panels));
        firstResult.set(i32.add(i32.mul(firstPanel, p.panelRows), smaller(firstPanel, p.tallPanels)));
        results.set(i32.add(i32.mul(lastPanel, p.panelRows), smaller(lastPanel, p.tallPanels)));
        results.set(i32.sub(results, firstResult));
        group.set(i32.div_u(item, p.panelBlocks));
        firstColumn.set(i32.mul(i32.rem_u(group, p.columnBlocks), p.columnsPerItem));
        group.set(i32.div_u(group, p.columnBlocks));
        row.set(i32.mul(i32.rem_u(group, p.rowBlocks), p.rowsPerItem));
        group.set(i32.div_u(group, p.rowBlocks));
        image.set(i32.mul(i32.rem_u(group, p.imageBlocks), p.imagesPerItem));
        group.set(i32.div_u(group, p.imageBlocks));
        images.set(i32.sub(planLayout.load(f, plan, "images"), image));
        images.set(smaller(images, p.imagesPerItem));
        rows.set(i32.sub(planLayout.load(f, plan, "outputRows"), row));
        rows.set(smaller(rows, p.rowsPerItem));
        columns.set(i32.mul(i32.mul(images, rows), p.outputColumns));
        lastColumn.set(i32.add(firstColumn, p.columnsPerItem));
        lastColumn.set(smaller(lastColumn, columns));
        from.set(
          i32.add(
            i32.add(source, i32.mul(group, planLayout.load(f, plan, "sourceGroup"))),
            i32.mul(image, planLayout.load(f, plan, "sourceImage")),
          ),
        );
        out.set(
          i32.add(
            i32.add(target, i32.mul(group, planLayout.load(f, plan, "targetGroup"))),
            i32.add(
              i32.mul(image, planLayout.load(f, plan, "targetImage")),
              i32.mul(row, planLayout.load(f, plan, "targetRow")),
            ),
          ),
        );
        out.set(i32.add(out, i32.mul(firstResult, p.targetChannel)));
        line.set(
          i32.add(
            coefficients,
            i32.mul(i32.mul(group, planLayout.load(f, plan, "channels")), coefficientBytes),
          ),
        );
        line.set(f.select(line, 0, coefficients));
        f.if(
          p.inPlace,
          () => base.set(i32.add(from, i32.mul(row, p.rowBytes))),
          () => {
            base.set(itemImage);
            const channels = planLayout.load(f, plan, "channels");
            f.call(prepare, {
              ...{ plan, from, to: itemImage, images, channels },
              ...{ firstRow: row, coefficients: line },
            });
          },
        );
        tile.set(i32.mul(i32.div_u(firstColumn, width), tileLayout.bytes(width)));
        tile.set(i32.add(tile, p.tileTable));
        const touchColumns = () => {
          const isFirst = i32.eqz(i32.and(i32.sub(column, firstColumn), touchedColumns - 1));
          f.if(i32.and(i32.and(p.inPlace, i32.eq(p.imagesPerItem, 1)), isFirst), () => {
            const left = f.let(i32.sub(lastColumn, column));
            const count = f.let(f.select(left, touched, i32.lt_s(left, touched)));
            f.call(touch, {
              ...{
                from: i32.add(base, i32.shl(column, 2)),
                rowBytes: planLayout.load(f, plan, "sourceChannel"),
              },
              ...{ rows: p.depth, bytes: i32.shl(count, 2), to: scratch },
            });
          });
        };
        f.forRange(column, firstColumn, lastColumn, width, () => {
          touchColumns();
          valid.set(i32.sub(lastColumn, column));
          valid.set(f.select(valid, width, i32.lt_s(valid, width)));
          direct.set(i32.and(i32.load(tile, tileLayout.direct), i32.eq(valid, width)));
          to.set(f.select(f.let(i32.add(out, i32.load(tile, tileLayout.out))), tileImage, direct));
          toRow.set(f.select(p.targetChannel, floatBytes * width, direct));
          panel.set(i32.add(panels, i32.shl(i32.mul(i32.mul(group, p.results), p.depth), 2)));
          f.forRange(step, 0, p.depth, p.block, () => {
            steps.set(i32.sub(p.depth, step));
            steps.set(smaller(steps, p.block));
            const tableRows = f.let(i32.add(p.rowTable, i32.shl(step, 2)));
            f.call(packSliver, {
              ...{ to: scratch, toRow: floatBytes * width, base, tile },
              ...{ rows: tableRows, depth: steps },
            });
            f.if(i32.and(p.inPlace, i32.ne(coefficients, 0)), () => {
              const first = i32.add(line, i32.mul(step, coefficientBytes));
              f.call(normRelu, {
                ...{ at: scratch, rowBytes: floatBytes * width, rows: steps, columns: width },
                ...{ coefficients: first, coefficientStep: coefficientBytes },
              });
            });
            const ownPanels = f.let(i32.add(panel, i32.shl(i32.mul(steps, firstResult), 2)));
            const block = {
              ...{ plan, panels: ownPanels, sliver: scratch, steps },
              ...{ to, rowBytes: toRow, firstPanel, lastPanel },
            };
            f.if(
              step,
              () => f.call(addBlock, block),
              () => f.call(firstBlock, block),
            );
            panel.set(i32.add(panel, i32.shl(i32.mul(steps, p.results), 2)));
          });
          f.if(i32.eqz(direct), () => {
            to.set(tileImage);
            toRow.set(out);
            f.forRange(result, 0, results, 1, () => {
              f.forRange(j, 0, valid, 1, () => {
                const place = f.let(i32.add(tile, i32.shl(j, 2)));
                f32.store(
                  i32.add(toRow, i32.load(place, tileLayout.target(width))),
                  f32.load(i32.add(to, i32.shl(j, 2))),
                );
              });
              to.set(i32.add(to, floatBytes * width));
              toRow.set(i32.add(toRow, p.targetChannel));
            });
          });
          tile.set(i32.add(tile, tileLayout.bytes(width)));
        });
      });
    },
  );
}
