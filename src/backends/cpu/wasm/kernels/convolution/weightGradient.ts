/**
 * The weight gradient: dot products of rows of the output gradient with rows of the gathered image.
 *
 * An item is a few channels of a group and some results, over all images and positions, or over those of a part
 * (weightParts.ts): threads share no sums, so the bits do not depend on how items are dealt out. Sums stay apart by lane
 * until the last image.
 */
import type { Local, ModuleBuilder, Reusable } from "../../encoder/index.ts";
import type { TouchRows } from "../touch.ts";
import { defineDotBlock, defineFinish, panelCount, panelHeight, panelSteps } from "./dotBlock.ts";
import { dotsLayout } from "./dotsPlan.ts";
import { coefficientBytes } from "./normRelu.ts";
import type { PackRows } from "./packRows.ts";
import { planLayout } from "./plan.ts";
import type { PrepareImage } from "./prepareImage.ts";
import { planFields } from "./product.ts";
import { floatBytes } from "./record.ts";
import { dotStride, dotTaps, dotTileBytes, type TileShape } from "./tile.ts";
import { forParts } from "./weightParts.ts";

/**
 * `weightGradient` (begin, end, scratch, record, source, gradient, weights, coefficients, sums, firstStep, lastStep,
 * partBegin, partEnd): items of the weight gradient, over some batches of images or blocks of them. Sums wait at `sums`,
 * item by item, for the next steps of the part; the last ones write the weights. Scratch memory holds an item's packed
 * rows and its image.
 *
 * `weightGradientParts` (begin, end, scratch, record, source, gradient, weights, coefficients, items, steps,
 * stepsPerPart, sumBytes, partBytes): whole parts (weightParts.ts). Their sums come before the items' scratch memory.
 */
export function defineWeightGradient(
  module: ModuleBuilder,
  shape: TileShape,
  prepare: PrepareImage,
  packRows: PackRows,
  touch: TouchRows,
): void {
  const [firstBlock, addBlock] = [defineDotBlock(module, shape, false), defineDotBlock(module, shape, true)];
  const finish = defineFinish(module, shape);
  const params = {
    ...({ begin: "i32", end: "i32", scratch: "i32", record: "i32" } as const),
    ...({
      source: "i32",
      gradient: "i32",
      weights: "i32",
      coefficients: "i32",
    } as const),
    ...({ sums: "i32", firstStep: "i32", lastStep: "i32", partBegin: "i32", partEnd: "i32" } as const),
  };
  const weightGradient = module.func(
    "weightGradient",
    { params },
    (f, { begin, end, scratch, record, source, gradient, weights, coefficients, ...given }) => {
      const { i32 } = f;
      const own = (name: (typeof dotsLayout.fields)[number]) => f.let(dotsLayout.load(f, record, name), name);
      const plan = own("plan");
      const p = planFields(f, plan, [
        "images",
        "channels",
        "results",
        "rowTable",

        "sourceChannel",
      ]);
      const [rowsPerItem, rowBlocks] = (["rowsPerItem", "rowBlocks"] as const).map(own);
      const [resultsPerItem, resultBlocks] = (["resultsPerItem", "resultBlocks"] as const).map(own);
      const [taps, imagesPerBatch] = (["taps", "imagesPerBatch"] as const).map(own);
      const [stepsPerBatch, positionsPerStep] = (["stepsPerBatch", "positionsPerStep"] as const).map(own);
      const sumBytes = own("sumBytes");
      const [positions, perBlock] = (["positions", "positionsPerBlock"] as const).map(own);
      const [readInPlace, gradientRow] = (["readInPlace", "gradientRow"] as const).map(own);
      const local = (name: string) => f.local("i32", name);
      const [item, group, channel, channels] = ["item", "group", "channel", "channels"].map(local);
      const [result, results, first, rows] = ["result", "results", "first", "rows"].map(local);
      const [table, dotTable, step, batch] = ["table", "dotTable", "step", "batch"].map(local);
      const [image, images, total, count] = ["image", "images", "total", "count"].map(local);
      const [firstPosition, lastPosition] = ["firstPosition", "lastPosition"].map(local);
      const position = local("position");
      const [from, base, x, y, packed, itemImage, itemSums] = [
        ...["from", "base", "x", "y", "packed", "itemImage", "itemSums"],
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
      const apart = f.let(i32.gt_s(stepsPerBatch, 1), "apart");
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
        line.set(i32.add(i32.mul(group, p.channels), channel));
        line.set(i32.add(coefficients, i32.mul(line, coefficientBytes)));
        line.set(f.select(line, 0, coefficients));
        packed.set(scratch);
        itemImage.set(
          i32.add(packed, f.select(f.let(i32.shl(i32.mul(rows, perBlock), 2)), 0, i32.eqz(readInPlace))),
        );
        f.forRange(step, given.firstStep, given.lastStep, 1, () => {
          batch.set(i32.div_u(step, stepsPerBatch));
          image.set(i32.mul(batch, imagesPerBatch));
          images.set(i32.sub(p.images, image));
          atMost(images, imagesPerBatch);
          total.set(i32.mul(i32.sub(images, 1), dotsLayout.load(f, record, "imagePositions")));
          total.set(i32.add(total, positions));
          firstPosition.set(i32.mul(i32.sub(step, i32.mul(batch, stepsPerBatch)), positionsPerStep));
          lastPosition.set(i32.and(i32.add(total, dotStride(shape) - 1), -dotStride(shape)));
          atMost(lastPosition, f.let(i32.add(firstPosition, positionsPerStep)));
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
                i32.add(
                  i32.mul(batch, dotsLayout.load(f, record, "gradientBatch")),
                  i32.shl(firstPosition, 2),
                ),
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
            },
          );
          f.forRange(position, firstPosition, lastPosition, perBlock, () => {
            count.set(i32.sub(lastPosition, position));
            atMost(count, perBlock);
            const bytes = f.let(i32.shl(count, 2), "bytes");
            // What all items of a step read is large where images are walked in steps, and then comes from memory.
            f.if(i32.and(i32.eq(item, begin), apart), () =>
              f.call(touch, { from: y, rowBytes: gradientRow, rows: results, bytes, to: scratch }),
            );
            f.if(
              readInPlace,
              () => {
                x.set(i32.add(base, i32.shl(position, 2)));
                dotTable.set(table);
                f.if(inPlace, () =>
                  f.call(touch, {
                    ...{
                      from: x,
                      rowBytes: p.sourceChannel,
                      rows,
                      bytes,
                    },
                    to: scratch,
                  }),
                );
              },
              () => {
                x.set(packed);
                dotTable.set(dotsLayout.load(f, record, "packedTable"));
                f.call(packRows, {
                  ...{
                    plan,
                    table,
                    rows,
                    base,
                    images,
                    positions,
                    position,
                    count,
                    to: packed,
                  },
                  ...{
                    toRow: i32.shl(perBlock, 2),
                    coefficients: f.select(line, 0, inPlace),
                  },
                });
              },
            );
            const block = {
              ...{
                gradient: y,
                gradientRow,
                apart,
                results,
                x,
                table: dotTable,
                rows,
              },
              ...{ bytes, sums: itemSums },
            };
            f.if(
              i32.or(i32.sub(step, given.partBegin), i32.sub(position, firstPosition)),
              () => f.call(addBlock, block),
              () => f.call(firstBlock, block),
            );
            y.set(i32.add(y, i32.shl(count, 2)));
          });
        });
        f.if(i32.eq(given.lastStep, given.partEnd), () => {
          sums.set(itemSums);
          const depth = i32.mul(p.channels, taps);
          const depthBytes = f.let(i32.shl(depth, 2), "depthBytes");
          const firstRow = i32.add(i32.mul(group, p.results), result);
          at.set(i32.add(i32.add(weights, i32.mul(firstRow, depthBytes)), i32.shl(first, 2)));
          const panels = f.let(panelCount(f, results), "panels");
          const rowSteps = panelSteps(f, depthBytes, panels, apart);
          f.forRange(row, 0, panels, 1, () => {
            height.set(panelHeight(f, results, panels, row));
            to.set(at);
            f.forRange(tap, 0, rows, dotTaps, () => {
              wide.set(i32.sub(rows, tap));
              atMost(wide, dotTaps);
              f.call(finish, {
                sums,
                rows: height,
                taps: wide,
                to,
                rowBytes: rowSteps.row,
              });
              sums.set(i32.add(sums, tileBytes));
              to.set(i32.add(to, floatBytes * dotTaps));
            });
            at.set(i32.add(at, rowSteps.panel(height)));
          });
        });
      });
    },
  );

  const partParams = {
    ...({ begin: "i32", end: "i32", scratch: "i32", record: "i32", source: "i32", gradient: "i32" } as const),
    ...({ weights: "i32", coefficients: "i32", items: "i32", steps: "i32", stepsPerPart: "i32" } as const),
    ...({ sumBytes: "i32", partBytes: "i32" } as const),
  };
  module.func("weightGradientParts", { params: partParams }, (f, p) => {
    const { i32 } = f;
    const step = f.local("i32", "step");
    const { record, source, gradient, coefficients } = p;
    forParts(f, p, (part, first, last) =>
      f.forRange(step, first, last, 1, () =>
        f.call(weightGradient, {
          ...{ begin: 0, end: p.items, scratch: i32.add(p.scratch, p.sumBytes), sums: p.scratch },
          ...{ record, source, gradient, coefficients },
          weights: i32.add(p.weights, i32.mul(part, p.partBytes)),
          ...{ firstStep: step, lastStep: i32.add(step, 1), partBegin: first, partEnd: last },
        }),
      ),
    );
  });
}
