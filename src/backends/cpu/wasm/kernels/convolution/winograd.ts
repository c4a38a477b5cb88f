/**
 * 3x3 convolutions by Winograd's minimal filtering F(2x2, 3x3): four outputs from a square of 4 x 4 pixels take 16
 * multiplications and not 36. Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A, where the products of all channels are added up before
 * the last transform, so that each of the sixteen is a matrix product. (Lavin and Gray, Fast Algorithms for
 * Convolutional Neural Networks, 2016, section 4.1.)
 *
 * The padded image is taken apart by phases of two, as for a convolution with that stride: pixel (r, s) of all squares
 * is then a plain shift, and neighbouring squares are neighbouring lanes. Two half tiles may lie apart, as in narrow.ts.
 *
 * The error is at most (C + 16) · 2⁻²⁴ times the same expression with magnitudes instead of values and sums instead of
 * differences; the tests hold it to that. In the mean it is 0.6 times the error of the direct sum, which adds nine times
 * as many products one after the other (32 and 128 channels, 14 x 14 and 28 x 28).
 */
import type { FunctionHandle, Local, ModuleBuilder } from "../../encoder/index.ts";
import type { WasmRuntime } from "../../runtime.ts";
import type { CopyRow, PrepareImage } from "./gather.ts";
import type { GatherSizes } from "./gatherSizes.ts";
import { walkHalfTiles } from "./halfTiles.ts";
import { cutNarrow, halvesOf } from "./items.ts";
import { makePlan, type Plan, planLayout } from "./plan.ts";
import { type ProductBlock, planFields } from "./product.ts";
import { floatBytes } from "./record.ts";
import type { WeightedProduct } from "./sizes.ts";
import { columnsOf, type TileShape } from "./tile.ts";
import { defineTransformInput, defineTransformOutput, tileProducts } from "./winogradTransforms.ts";

/** With fewer channels or results the transforms cost more than they save. */
const fewestChannels = 16;
/** More weights are read from memory for every tile: 512 x 512 on 14 x 14 gain 5 to 30 %, 384 x 256 on 28 x 28 80 %. */
const mostWeights = 2 ** 17;
/** Squares may be computed for nothing, at the end of rows and in margins, in this proportion to outputs. */
const largestWaste = 0.5;

/** The sixteen products, one after the other, begin at different sets of the first cache. */
const apart = 64;
export const productStride = (rows: number, columns: number): number => floatBytes * rows * columns + apart;

/** The squares of a product as the positions of a convolution with a stride of two, or null where it is not for them. */
function squaresOf({
  groups,
  channels,
  results,
  vertical,
  horizontal,
  taps,
  ...rest
}: GatherSizes): GatherSizes | null {
  const isPlain = groups === 1 && taps.length === 9 && rest.target.column === floatBytes;
  const isSquare = [vertical, horizontal].every(({ stride, reach }) => stride === 1 && reach === 2);
  if (
    !isPlain ||
    !isSquare ||
    Math.min(channels, results) < fewestChannels ||
    channels * results > mostWeights
  )
    return null;
  const axis = (given: GatherSizes["vertical"]) => {
    const outputs = Math.ceil(given.outputs / 2);
    return { ...given, stride: 2, outputs, reach: 1, length: outputs + 1 };
  };
  return {
    ...{ ...rest, groups, channels, results },
    vertical: axis(vertical),
    horizontal: axis(horizontal),
    taps: [{ phase: 0, shift: [0, 0] }],
  };
}

export interface WinogradPlan {
  readonly plan: Plan;
  readonly scratchBytes: number;
  /** Rows and columns of the outputs, of which the last of an odd number is half a square. */
  readonly outputRows: number;
  readonly outputColumns: number;
  /** Offsets of the nine weights, row by row of the window, channel by channel. */
  readonly weightTable: readonly number[];
}

/** The plan of a product by squares, or null where it does not pay or is not a 3x3 window. */
export function planWinograd(
  runtime: WasmRuntime,
  shape: TileShape,
  { sizes, weightTable }: WeightedProduct,
): WinogradPlan | null {
  const squares = squaresOf(sizes);
  if (!squares) return null;
  const { channels, results, vertical } = squares;
  const width = columnsOf(shape);
  const computed = 2 * width * halvesOf(shape, squares, vertical.outputs);
  if (computed > (1 + largestWaste) * sizes.vertical.outputs * sizes.horizontal.outputs) return null;
  const order = [0, 1, 2].flatMap((r) =>
    [0, 1, 2].map((s) => sizes.taps.findIndex(({ shift }) => shift[0] === r && shift[1] === s)),
  );
  if (order.includes(-1)) return null;
  // The results of an item stay in the second cache beside its image.
  const cut = cutNarrow({ ...squares, channels: channels + results });
  const plan = makePlan(runtime, shape, squares, undefined, cut);
  const halves = cut.imagesPerItem * halvesOf(shape, squares, cut.rowsPerItem);
  const products = tileProducts * (productStride(channels, width) + productStride(results, width));
  return {
    plan,
    scratchBytes: products + floatBytes * results * 4 * width * Math.ceil(halves / 2) + plan.itemImageBytes,
    outputRows: sizes.vertical.outputs,
    outputColumns: sizes.horizontal.outputs,
    weightTable: weightTable.map((_, i) => weightTable[9 * Math.floor(i / 9) + order[i % 9]]),
  };
}

/**
 * (begin, end, scratch, plan, source, panels, target, coefficients, outputRows, outputColumns): items of a plan of
 * squares, as `narrowProduct`. Scratch memory holds the sixteen slivers and products of a tile, two lines of outputs
 * for all of an item's squares, and its image.
 */
export function defineWinogradProduct(
  module: ModuleBuilder,
  shape: TileShape,
  prepare: PrepareImage,
  copyRow: CopyRow,
  block: FunctionHandle<ProductBlock, undefined>,
): void {
  const width = columnsOf(shape);
  const halfBytes = (floatBytes * width) / 2;
  const transformInput = defineTransformInput(module, shape);
  const transformOutput = defineTransformOutput(module, shape);
  const params = {
    ...({ begin: "i32", end: "i32", scratch: "i32", plan: "i32", source: "i32", panels: "i32" } as const),
    ...({ target: "i32", coefficients: "i32", outputRows: "i32", outputColumns: "i32" } as const),
  };
  module.func("winogradProduct", { params }, (f, given) => {
    const { begin, end, scratch, plan, source, panels, target, coefficients } = given;
    const { i32 } = f;
    const p = planFields(f, plan, [
      ...(["results", "channels", "rowsPerItem", "imageBlocks", "rowBlocks"] as const),
      ...(["outputRows", "outputColumns", "rowBytes", "panels", "targetChannel", "targetRow"] as const),
      ...(["imagesPerItem", "imageBytes"] as const),
    ]);
    const names = ["item", "image", "images", "row", "rows", "out", "product", "result", "r", "parity"];
    const [item, image, images, row, rows, out, product, result, r, parity] = names.map((name) =>
      f.local("i32", name),
    );
    const [half, halves] = ["half", "halves"].map((name) => f.local("i32", name));
    const walk = walkHalfTiles(f, p, width);
    const [base, second, from, to, a, b, c] = ["base", "second", "from", "to", "a", "b", "c"].map((name) =>
      f.local("i32", name),
    );
    const smaller = (x: Local<"i32">, y: Local<"i32">) => f.select(x, y, i32.lt_s(x, y));
    const itemHalves = f.let(i32.mul(p.imagesPerItem, walk.countOf(p.rowsPerItem)), "itemHalves");
    const lineBytes = f.let(i32.mul(i32.and(i32.add(itemHalves, 1), -2), 2 * halfBytes), "lineBytes");
    const stride = (lines: Local<"i32">) => f.let(i32.add(i32.mul(lines, floatBytes * width), apart));
    const [inputStride, sumStride] = [stride(p.channels), stride(p.results)];
    const panelStride = f.let(i32.add(i32.shl(i32.mul(p.results, p.channels), 2), apart), "panelStride");
    const sums = f.let(i32.add(scratch, i32.mul(inputStride, tileProducts)), "sums");
    const lines = f.let(i32.add(sums, i32.mul(sumStride, tileProducts)), "lines");
    const itemImage = f.let(i32.add(lines, i32.mul(i32.shl(p.results, 1), lineBytes)), "itemImage");
    f.forRange(item, begin, end, 1, () => {
      row.set(i32.mul(i32.rem_u(item, p.rowBlocks), p.rowsPerItem));
      image.set(i32.mul(i32.div_u(item, p.rowBlocks), p.imagesPerItem));
      images.set(i32.sub(planLayout.load(f, plan, "images"), image));
      images.set(smaller(images, p.imagesPerItem));
      rows.set(i32.sub(p.outputRows, row));
      rows.set(smaller(rows, p.rowsPerItem));
      out.set(i32.add(target, i32.mul(image, planLayout.load(f, plan, "targetImage"))));
      f.call(prepare, {
        from: i32.add(source, i32.mul(image, planLayout.load(f, plan, "sourceImage"))),
        ...{ plan, to: itemImage, images, channels: p.channels, firstRow: row, coefficients },
      });
      walk.begin(itemImage, walk.countOf(rows));
      halves.set(i32.mul(images, walk.imageHalves));
      f.forRange(half, 0, halves, 2, () => {
        walk.take(base);
        // The last one may be alone; nobody reads what is computed beside it.
        second.set(base);
        f.if(i32.lt_s(i32.add(half, 1), halves), () => walk.take(second));
        f.call(transformInput, { plan, base, second, to: scratch, productBytes: inputStride });
        a.set(panels);
        b.set(scratch);
        c.set(sums);
        f.forRange(product, 0, tileProducts, 1, () => {
          f.call(block, {
            ...{ plan, panels: a, sliver: b, steps: p.channels, to: c, rowBytes: floatBytes * width },
            ...{ firstPanel: 0, lastPanel: p.panels },
          });
          a.set(i32.add(a, panelStride));
          b.set(i32.add(b, inputStride));
          c.set(i32.add(c, sumStride));
        });
        f.call(transformOutput, {
          ...{ from: sums, productBytes: sumStride, results: p.results },
          ...{ to: i32.add(lines, i32.mul(half, 2 * halfBytes)), lineBytes },
        });
      });
      f.forRange(result, 0, p.results, 1, () => {
        f.forRange(image, 0, images, 1, () => {
          f.forRange(parity, 0, 2, 1, () => {
            from.set(i32.mul(i32.add(i32.shl(result, 1), parity), lineBytes));
            from.set(i32.add(from, i32.mul(i32.mul(image, walk.imageHalves), 2 * halfBytes)));
            from.set(i32.add(from, lines));
            to.set(i32.mul(i32.add(i32.shl(row, 1), parity), p.targetRow));
            to.set(i32.add(to, i32.mul(image, planLayout.load(f, plan, "targetImage"))));
            to.set(i32.add(i32.add(out, to), i32.mul(result, p.targetChannel)));
            f.forRange(r, 0, rows, 1, () => {
              const line = i32.add(i32.shl(i32.add(row, r), 1), parity);
              f.if(i32.lt_s(line, given.outputRows), () =>
                f.call(copyRow, { from, to, count: given.outputColumns, step: floatBytes }),
              );
              from.set(i32.add(from, i32.shl(p.rowBytes, 1)));
              to.set(i32.add(to, i32.shl(p.targetRow, 1)));
            });
          });
        });
      });
    });
  });
}
