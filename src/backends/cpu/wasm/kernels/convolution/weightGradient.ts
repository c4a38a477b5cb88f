/**
 * The weight gradient: dot products of rows of the output gradient with rows of the gathered image.
 *
 * An item is a few channels of a group and some results, over all images and positions: threads share no sums, so
 * the bits do not depend on how items are dealt out. Sums stay apart by lane until the last image.
 */
import type { FunctionHandle, Local, ModuleBuilder, Reusable } from "../../encoder/index.ts";
import type { CopyRow, PackSliver, PrepareImage } from "./gather.ts";
import { coefficientBytes, type NormRelu } from "./normRelu.ts";
import { floatBytes, planLayout, tileLayout } from "./plan.ts";
import { planFields } from "./product.ts";
import { RecordLayout } from "./record.ts";
import {
  columnsOf,
  defineDotTile,
  dotStride,
  dotTaps,
  dotTileBytes,
  type TileShape,
  tileRows,
} from "./tile.ts";

/** What the weight gradient knows besides the plan. */
export const dotsLayout = new RecordLayout([
  "plan",
  "rowsPerItem",
  "rowBlocks",
  "resultsPerItem",
  "resultBlocks",
  "taps",
  "imagesPerBatch",
  "batches",
  "sumBytes",
  "positions",
  "positionsPerBlock",
  "packedTable",
  /** Zeroed after the image when that is read in place. */
  "slackBytes",
  "readInPlace",
  "gradientBatch",
  "gradientGroup",
  "gradientRow",
]);

/** Bytes of an item's sums. */
export function dotSumBytes(shape: TileShape, results: number, rows: number): number {
  return Math.ceil(results / tileRows) * Math.ceil(rows / dotTaps) * dotTileBytes(shape);
}

/** Adds up the lanes of a tile's sums and writes them to the weights. */
function defineFinish(module: ModuleBuilder, shape: TileShape) {
  const parts = dotStride(shape) / 4;
  const params = { sums: "i32", rows: "i32", taps: "i32", to: "i32", rowBytes: "i32" } as const;
  return module.func("finishDots", { params, exported: false }, (f, { sums, rows, taps, to, rowBytes }) => {
    const { i32, f32, v128, f32x4 } = f;
    const [row, tap] = [f.local("i32", "row"), f.local("i32", "tap")];
    f.forRange(row, 0, rows, 1, () => {
      f.forRange(tap, 0, taps, 1, () => {
        let vector = f.let(v128.load(sums));
        for (let part = 1; part < parts; part++)
          vector = f.let(f32x4.add(vector, v128.load(sums, 16 * part)));
        const lane = (i: 0 | 1 | 2 | 3) => f32x4.extract_lane(vector, i);
        const total = f32.add(f32.add(lane(0), lane(1)), f32.add(lane(2), lane(3)));
        f32.store(i32.add(to, i32.shl(tap, 2)), total);
        sums.set(i32.add(sums, 16 * parts));
      });
      to.set(i32.add(to, rowBytes));
    });
  });
}

const blockParams = {
  gradient: "i32",
  gradientRow: "i32",
  results: "i32",
  x: "i32",
  table: "i32",
  rows: "i32",
  bytes: "i32",
  sums: "i32",
} as const;

/** All gradient rows of an item against its image rows, row t `table[t]` bytes from `x`, over one block of positions. */
function defineDotBlock(
  module: ModuleBuilder,
  shape: TileShape,
): FunctionHandle<typeof blockParams, undefined> {
  const tiles = Array.from({ length: tileRows }, (_, rows) =>
    Array.from({ length: dotTaps }, (_, taps) => defineDotTile(module, shape, rows + 1, taps + 1)),
  );
  return module.func(
    "dotBlock",
    { params: blockParams, exported: false },
    (f, { gradient, gradientRow, results, x, table, rows, bytes, sums }) => {
      const { i32 } = f;
      const [row, height, tap, taps] = ["row", "height", "tap", "taps"].map((name) => f.local("i32", name));
      const [entry, right, xRow] = ["entry", "right", "xRow"].map((name) => f.local("i32", name));
      const atMost = (local: Local<"i32">, limit: number): void =>
        local.set(f.select(local, limit, i32.lt_s(local, limit)));
      f.forRange(row, 0, results, tileRows, () => {
        height.set(i32.sub(results, row));
        atMost(height, tileRows);
        entry.set(table);
        f.forRange(tap, 0, rows, dotTaps, () => {
          taps.set(i32.sub(rows, tap));
          atMost(taps, dotTaps);
          right.set(i32.add(x, i32.load(entry)));
          xRow.set(i32.sub(i32.load(entry, 4), i32.load(entry)));
          for (const [i, byTaps] of [...tiles.entries()].reverse())
            f.if(i32.eq(height, i + 1), () => {
              for (const [t, tile] of byTaps.entries())
                f.if(i32.eq(taps, t + 1), () =>
                  f.call(tile, { y: gradient, yRow: gradientRow, x: right, xRow, bytes, sums }),
                );
            });
          sums.set(i32.add(sums, dotTileBytes(shape)));
          entry.set(i32.add(entry, 4 * dotTaps));
        });
        gradient.set(i32.add(gradient, i32.mul(height, gradientRow)));
      });
    },
  );
}

/**
 * (begin, end, scratch, record, source, gradient, weights, coefficients, sums, firstBatch, lastBatch): items of the
 * weight gradient, over some batches of images. Sums wait at `sums`, item by item, for the next batches; the last ones
 * write the weights. Scratch memory holds an item's packed rows and its image.
 */
export function defineWeightGradient(
  module: ModuleBuilder,
  shape: TileShape,
  prepare: PrepareImage,
  packSliver: PackSliver,
  copyRow: CopyRow,
  normRelu: NormRelu,
): void {
  const width = columnsOf(shape);
  const [dotBlock, finish] = [defineDotBlock(module, shape), defineFinish(module, shape)];
  const params = {
    ...({ begin: "i32", end: "i32", scratch: "i32", record: "i32" } as const),
    ...({ source: "i32", gradient: "i32", weights: "i32", coefficients: "i32" } as const),
    ...({ sums: "i32", firstBatch: "i32", lastBatch: "i32" } as const),
  };
  module.func(
    "weightGradient",
    { params },
    (f, { begin, end, scratch, record, source, gradient, weights, coefficients, ...given }) => {
      const { i32, f32 } = f;
      const own = (name: (typeof dotsLayout.fields)[number]) => f.let(dotsLayout.load(f, record, name), name);
      const plan = own("plan");
      const p = planFields(f, plan, [
        "images",
        "channels",
        "results",
        "rowTable",
        "tileTable",
        "sourceChannel",
      ]);
      const [rowsPerItem, rowBlocks] = (["rowsPerItem", "rowBlocks"] as const).map(own);
      const [resultsPerItem, resultBlocks] = (["resultsPerItem", "resultBlocks"] as const).map(own);
      const [taps, imagesPerBatch] = (["taps", "imagesPerBatch"] as const).map(own);
      const [batches, sumBytes] = (["batches", "sumBytes"] as const).map(own);
      const [positions, perBlock] = (["positions", "positionsPerBlock"] as const).map(own);
      const [readInPlace, gradientRow] = (["readInPlace", "gradientRow"] as const).map(own);
      const names = [
        "item",
        "group",
        "channel",
        "channels",
        "result",
        "results",
        "first",
        "rows",
        "table",
        "dotTable",
        "batch",
        "image",
        "images",
        "total",
        "padded",
        "position",
        "count",
      ];
      const [
        item,
        group,
        channel,
        channels,
        result,
        results,
        first,
        rows,
        table,
        dotTable,
        batch,
        image,
        images,
        total,
        padded,
        position,
        count,
      ] = names.map((name) => f.local("i32", name));
      const [from, base, x, xRow, y, packed, itemImage, itemSums, tile, column] = [
        ...["from", "base", "x", "xRow", "y", "packed", "itemImage", "itemSums", "tile", "column"],
      ].map((name) => f.local("i32", name));
      const [row, at, height, tap, wide, sums, to] = ["row", "at", "height", "tap", "wide", "sums", "to"].map(
        (name) => f.local("i32", name),
      );
      const line = f.local("i32", "line");
      const inPlace = f.let(planLayout.load(f, plan, "inPlace"), "inPlace");
      const sourceImage = f.let(planLayout.load(f, plan, "sourceImage"), "sourceImage");
      const atMost = (local: Local<"i32">, limit: Reusable<"i32">): void =>
        local.set(f.select(local, limit, i32.lt_s(local, limit)));
      const tileBytes = dotTileBytes(shape);
      f.forRange(item, begin, end, 1, () => {
        result.set(i32.mul(i32.rem_u(item, resultBlocks), resultsPerItem));
        group.set(i32.div_u(item, resultBlocks));
        first.set(i32.mul(i32.rem_u(group, rowBlocks), rowsPerItem));
        group.set(i32.div_u(group, rowBlocks));
        rows.set(i32.sub(i32.mul(p.channels, taps), first));
        atMost(rows, rowsPerItem);
        channel.set(i32.div_u(first, taps));
        const lastChannel = i32.div_u(i32.add(first, i32.sub(rows, 1)), taps);
        channels.set(i32.add(i32.sub(lastChannel, channel), 1));
        // Rows of the table count from the item's first channel.
        table.set(i32.add(p.rowTable, i32.shl(i32.sub(first, i32.mul(channel, taps)), 2)));
        results.set(i32.sub(p.results, result));
        atMost(results, resultsPerItem);
        itemSums.set(i32.add(given.sums, i32.mul(item, sumBytes)));
        f.if(i32.eqz(given.firstBatch), () => f.memory.fill(itemSums, 0, sumBytes));
        line.set(i32.add(i32.mul(group, p.channels), channel));
        line.set(i32.add(coefficients, i32.mul(line, coefficientBytes)));
        line.set(f.select(line, 0, coefficients));
        packed.set(scratch);
        itemImage.set(
          i32.add(packed, f.select(f.let(i32.shl(i32.mul(rows, perBlock), 2)), 0, i32.eqz(readInPlace))),
        );
        f.forRange(batch, given.firstBatch, given.lastBatch, 1, () => {
          image.set(i32.mul(batch, imagesPerBatch));
          images.set(i32.sub(p.images, image));
          atMost(images, imagesPerBatch);
          total.set(i32.mul(images, positions));
          padded.set(i32.and(i32.add(total, dotStride(shape) - 1), -dotStride(shape)));
          from.set(
            i32.add(
              i32.add(source, i32.mul(group, planLayout.load(f, plan, "sourceGroup"))),
              i32.add(i32.mul(image, sourceImage), i32.mul(channel, p.sourceChannel)),
            ),
          );
          y.set(
            i32.add(
              i32.add(gradient, i32.mul(group, dotsLayout.load(f, record, "gradientGroup"))),
              i32.add(
                i32.mul(batch, dotsLayout.load(f, record, "gradientBatch")),
                i32.mul(result, gradientRow),
              ),
            ),
          );
          f.if(
            inPlace,
            () => base.set(from),
            () => {
              base.set(itemImage);
              f.call(prepare, {
                plan,
                from,
                to: itemImage,
                images,
                channels,
                firstRow: 0,
                coefficients: line,
              });
              // Read in place, the last positions reach beyond the last channel, and meet zeros of the gradient.
              to.set(i32.add(itemImage, i32.mul(channels, planLayout.load(f, plan, "channelBytes"))));
              f.memory.fill(to, 0, dotsLayout.load(f, record, "slackBytes"));
            },
          );
          tile.set(p.tileTable);
          f.forRange(position, 0, padded, perBlock, () => {
            count.set(i32.sub(padded, position));
            atMost(count, perBlock);
            f.if(
              readInPlace,
              () => {
                x.set(i32.add(base, i32.shl(position, 2)));
                dotTable.set(table);
              },
              () => {
                x.set(packed);
                dotTable.set(dotsLayout.load(f, record, "packedTable"));
                xRow.set(i32.shl(perBlock, 2));
                f.if(
                  inPlace,
                  () => {
                    // Planes without gaps: one long copy each, of all images of the batch or of a part of its only one.
                    f.forRange(row, 0, rows, 1, () => {
                      to.set(i32.add(packed, i32.mul(row, xRow)));
                      at.set(i32.add(i32.add(base, i32.mul(row, p.sourceChannel)), i32.shl(position, 2)));
                      f.forRange(column, 0, images, 1, () => {
                        wide.set(i32.sub(positions, position));
                        atMost(wide, count);
                        f.call(copyRow, { from: at, to, count: wide, step: floatBytes });
                        to.set(i32.add(to, i32.shl(wide, 2)));
                        at.set(i32.add(at, sourceImage));
                      });
                    });
                  },
                  () => {
                    to.set(packed);
                    f.forRange(column, 0, count, width, () => {
                      f.call(packSliver, { to, toRow: xRow, base, tile, rows: table, depth: rows });
                      to.set(i32.add(to, floatBytes * width));
                      tile.set(i32.add(tile, tileLayout.bytes(width)));
                    });
                  },
                );
                f.if(i32.and(inPlace, i32.ne(line, 0)), () =>
                  f.call(normRelu, {
                    ...{ at: packed, rowBytes: xRow, rows, columns: count },
                    ...{ coefficients: line, coefficientStep: coefficientBytes },
                  }),
                );
                // What follows the last position meets zeros of the gradient, which do not silence NaN.
                wide.set(i32.sub(i32.add(position, count), total));
                f.if(i32.gt_s(wide, 0), () => {
                  to.set(i32.add(packed, i32.shl(i32.sub(count, wide), 2)));
                  f.forRange(row, 0, rows, 1, () => {
                    f.forRange(column, 0, wide, 1, () => f32.store(i32.add(to, i32.shl(column, 2)), 0));
                    to.set(i32.add(to, xRow));
                  });
                });
              },
            );
            f.call(dotBlock, {
              ...{ gradient: y, gradientRow, results, x, table: dotTable, rows },
              ...{ bytes: i32.shl(count, 2), sums: itemSums },
            });
            y.set(i32.add(y, i32.shl(count, 2)));
          });
        });
        f.if(i32.eq(given.lastBatch, batches), () => {
          sums.set(itemSums);
          const depth = i32.mul(p.channels, taps);
          const depthBytes = f.let(i32.shl(depth, 2), "depthBytes");
          const firstRow = i32.add(i32.mul(group, p.results), result);
          at.set(i32.add(i32.add(weights, i32.mul(firstRow, depthBytes)), i32.shl(first, 2)));
          f.forRange(row, 0, results, tileRows, () => {
            height.set(i32.sub(results, row));
            atMost(height, tileRows);
            to.set(at);
            f.forRange(tap, 0, rows, dotTaps, () => {
              wide.set(i32.sub(rows, tap));
              atMost(wide, dotTaps);
              f.call(finish, { sums, rows: height, taps: wide, to, rowBytes: depthBytes });
              sums.set(i32.add(sums, tileBytes));
              to.set(i32.add(to, floatBytes * dotTaps));
            });
            at.set(i32.add(at, i32.mul(height, depthBytes)));
          });
        });
      });
    },
  );
}
