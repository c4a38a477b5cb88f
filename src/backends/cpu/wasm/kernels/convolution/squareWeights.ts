/**
 * The weight gradient of 3x3 windows by Winograd's F(3x3, 2x2): the gradient of a square of 2 x 2 outputs and the 4 x 4
 * pixels under it take 16 multiplications and not 36. dW = Gᵀ [ (A g Aᵀ) ⊙ (Bᵀ d B) ] G, with the matrices of
 * squareProduct.ts, where the products of all squares of all images are added up before the last transform, so that
 * each of the sixteen is a matrix product, filters by squares times squares by channels.
 *
 * Windows of one pixel take the same way with one product of pixels as they are.
 *
 * Channels are last while this goes on (channelsLast.ts): squares of all images follow each other without a gap, and an
 * operand's row is sixteen channels of one square.
 *
 * The error is at most (T + 16) · 2⁻²⁴ times the same expression of magnitudes, with T squares in all images; the tests
 * hold it to that. In the mean it is 2.4 times that of the dot products in weightGradient.ts where there are few squares
 * (128 channels, 7 x 7, 8 images), 0.9 times where there are many (32 channels, 56 x 56), since blocks are added up apart.
 */
import type { FunctionBuilder, Local, ModuleBuilder } from "../../encoder/index.ts";
import { groupChannels, type PutChannelsLast, pixelBytes } from "./channelsLast.ts";
import { panelCount, panelHeight } from "./dotBlock.ts";
import { floatBytes } from "./record.ts";
import { blockFields, blockOf, defineTransformGroup, type TransformGroup } from "./squareBlocks.ts";
import {
  defineCopySums,
  defineTransformGradient,
  defineTransformSums,
  type TransformSums,
} from "./squareTransforms.ts";
import { squareWeightsLayout } from "./squareWeightsPlan.ts";
import { columnsOf, defineProductTile, type TileShape, tileRows } from "./tile.ts";
import { forParts } from "./weightParts.ts";

const fieldsOf =
  (f: FunctionBuilder, record: Local<"i32">) => (name: (typeof squareWeightsLayout.fields)[number]) =>
    f.let(squareWeightsLayout.load(f, record, name), name);

const filterGroupsOf = ({ i32 }: FunctionBuilder, filters: Local<"i32">) =>
  i32.div_u(i32.add(filters, groupChannels - 1), groupChannels);

/**
 * Tiles of all columns of a group of channels, `rows` filters each. Blocks are added up apart where there are registers
 * for that: with vectors of 128 bits the tile would take twice as long (V8 11, Node 20).
 */
function defineGroupTiles(module: ModuleBuilder, shape: TileShape, rows: number, accumulate: boolean) {
  const tile = defineProductTile(module, shape, rows, accumulate, {
    steps: { a: pixelBytes, b: pixelBytes },
    apart: shape.vectors > 2,
  });
  return (f: FunctionBuilder, a: Local<"i32">, b: Local<"i32">, depth: Local<"i32">, c: Local<"i32">) => {
    for (let column = 0; column < groupChannels; column += columnsOf(shape)) {
      const offset = floatBytes * column;
      f.call(tile, { a, b: f.i32.add(b, offset), depth, c: f.i32.add(c, offset), rowBytes: pixelBytes });
    }
  };
}

/**
 * `transformGradients` (begin, end, scratch, squares, view, gradient, to, firstBlock): the item is a group of filters
 * of a block; blocks count from the first one.
 *
 * `squareWeights` (begin, end, scratch, squares, view, source, transformed, sums, weights, coefficients, firstBlock,
 * lastBlock, partBegin, partEnd): the item is some groups of channels and of filters. Sums wait at `sums` for the next
 * blocks of the part; the last ones write the weights.
 *
 * `squareWeightParts` (begin, end, scratch, squares, image, view, source, gradient, weights, coefficients, items, steps,
 * stepsPerPart, sumBytes, transformedBytes, partBytes): whole parts (weightParts.ts), of blocks of `source`, which `image`
 * describes, and `gradient`, which `view` does. Sums and the transformed gradient of a block come before the items'
 * scratch memory.
 */
export function defineSquareWeights(
  module: ModuleBuilder,
  shape: TileShape,
  putChannelsLast: PutChannelsLast,
  squareGroup: TransformGroup,
): void {
  const ofGradient = { side: 2, margin: 0 };
  const transformGradient = defineTransformGradient(module);
  const gradientGroup = defineTransformGroup(
    ...([module, "gradientGroup", ofGradient, putChannelsLast, transformGradient] as const),
  );
  const pixelGroup = defineTransformGroup(
    module,
    "pixelGroup",
    { side: 1, margin: 0 },
    putChannelsLast,
    null,
  );
  const [copySums, transformSums] = [defineCopySums(module), defineTransformSums(module)];
  const gradientParams = {
    ...({ begin: "i32", end: "i32", scratch: "i32", squares: "i32", view: "i32", gradient: "i32" } as const),
    ...({ to: "i32", firstBlock: "i32" } as const),
  };
  const transformGradients = module.func("transformGradients", { params: gradientParams }, (f, p) => {
    const { i32 } = f;
    const filterGroups = f.let(filterGroupsOf(f, fieldsOf(f, p.squares)("filters")), "filterGroups");
    const blocks = fieldsOf(f, p.squares)("blocks");
    const productBytes = blockFields(f, blocks)("productBytes");
    const products = fieldsOf(f, p.squares)("products");
    const item = f.local("i32", "item");
    f.forRange(item, p.begin, p.end, 1, () => {
      const take = (group: TransformGroup) =>
        f.call(group, {
          ...{ blocks, view: p.view, from: p.gradient, pixels: p.scratch, coefficients: 0 },
          block: i32.add(p.firstBlock, i32.div_u(item, filterGroups)),
          channel: i32.mul(i32.rem_u(item, filterGroups), groupChannels),
          to: i32.add(p.to, i32.mul(item, i32.mul(productBytes, products))),
        });
      f.if(
        i32.eq(products, 1),
        () => take(pixelGroup),
        () => take(gradientGroup),
      );
    });
  });

  const [firstTiles, addTiles] = [false, true].map((accumulate) =>
    Array.from({ length: tileRows }, (_, i) => defineGroupTiles(module, shape, i + 1, accumulate)),
  );
  const params = {
    ...({ begin: "i32", end: "i32", scratch: "i32", squares: "i32", view: "i32", source: "i32" } as const),
    ...({ transformed: "i32", sums: "i32", weights: "i32", coefficients: "i32" } as const),
    ...({ firstBlock: "i32", lastBlock: "i32", partBegin: "i32", partEnd: "i32" } as const),
  };
  const squareWeights = module.func("squareWeights", { params }, (f, p) => {
    const { i32 } = f;
    const field = fieldsOf(f, p.squares);
    const [blocks, sumBytes, filters] = (["blocks", "sumBytes", "filters"] as const).map(field);
    const [channels, products] = (["channels", "products"] as const).map(field);
    const productBytes = blockFields(f, blocks)("productBytes");
    const filterGroups = f.let(filterGroupsOf(f, filters), "filterGroups");
    const [channelsPerItem, filtersPerItem] = (["channelGroupsPerItem", "filterGroupsPerItem"] as const).map(
      (name) => f.let(i32.mul(field(name), groupChannels)),
    );
    const filterBlocks = field("filterBlocks");
    const pixelsBytes = field("pixelsBytes");
    const names = ["item", "block", "channel", "filter", "product", "panel", "height", "count", "depth"];
    const [item, block, channel, filter, product, panel, height, count, depth] = names.map((name) =>
      f.local("i32", name),
    );
    const [firstChannel, lastChannel, firstFilter, lastFilter] = [
      ...["firstChannel", "lastChannel", "firstFilter", "lastFilter"],
    ].map((name) => f.local("i32", name));
    const [a, b, c, left, out, groupSums] = ["a", "b", "c", "left", "out", "groupSums"].map((name) =>
      f.local("i32", name),
    );
    const smaller = (x: Local<"i32">, y: Local<"i32">) => f.select(x, y, i32.lt_s(x, y));
    const operandBytes = f.let(i32.mul(productBytes, products), "operandBytes");
    const pixels = p.scratch;
    const transformed = f.let(i32.add(pixels, pixelsBytes), "transformedPixels");
    const sumsOf = (first: Local<"i32">) =>
      i32.mul(i32.div_u(first, groupChannels), i32.mul(sumBytes, products));
    const multiply = (tiles: typeof firstTiles) => {
      b.set(transformed);
      f.forRange(product, 0, products, 1, () => {
        f.forRange(filter, firstFilter, lastFilter, groupChannels, () => {
          left.set(i32.mul(i32.sub(block, p.firstBlock), filterGroups));
          left.set(i32.mul(i32.add(left, i32.div_u(filter, groupChannels)), operandBytes));
          left.set(i32.add(i32.add(p.transformed, left), i32.mul(product, productBytes)));
          out.set(i32.add(i32.mul(product, sumBytes), i32.mul(filter, pixelBytes)));
          out.set(i32.add(groupSums, out));
          count.set(i32.sub(filters, filter));
          count.set(f.select(count, groupChannels, i32.lt_s(count, groupChannels)));
          const panels = f.let(panelCount(f, count), "panels");
          f.forRange(panel, 0, panels, 1, () => {
            height.set(panelHeight(f, count, panels, panel));
            a.set(left);
            c.set(out);
            for (const [i, call] of [...tiles.entries()].reverse())
              f.if(i32.eq(height, i + 1), () => call(f, a, b, depth, c));
            left.set(i32.add(left, i32.mul(height, floatBytes)));
            out.set(i32.add(out, i32.mul(height, pixelBytes)));
          });
        });
        b.set(i32.add(b, productBytes));
      });
    };
    f.forRange(item, p.begin, p.end, 1, () => {
      firstFilter.set(i32.mul(i32.rem_u(item, filterBlocks), filtersPerItem));
      lastFilter.set(i32.add(firstFilter, filtersPerItem));
      lastFilter.set(smaller(lastFilter, filters));
      firstChannel.set(i32.mul(i32.div_u(item, filterBlocks), channelsPerItem));
      lastChannel.set(i32.add(firstChannel, channelsPerItem));
      lastChannel.set(smaller(lastChannel, channels));
      f.forRange(block, p.firstBlock, p.lastBlock, 1, () => {
        depth.set(blockOf(f, blocks, block).squares);
        f.forRange(channel, firstChannel, lastChannel, groupChannels, () => {
          groupSums.set(i32.add(p.sums, sumsOf(channel)));
          const take = (group: TransformGroup) =>
            f.call(group, {
              ...{ blocks, view: p.view, block, from: p.source, channel },
              ...{ pixels, to: transformed, coefficients: p.coefficients },
            });
          f.if(
            i32.eq(products, 1),
            () => take(pixelGroup),
            () => take(squareGroup),
          );
          f.if(
            i32.sub(block, p.partBegin),
            () => multiply(addTiles),
            () => multiply(firstTiles),
          );
        });
      });
      f.if(i32.eq(p.lastBlock, p.partEnd), () => {
        f.forRange(channel, firstChannel, lastChannel, groupChannels, () => {
          count.set(i32.sub(channels, channel));
          count.set(f.select(count, groupChannels, i32.lt_s(count, groupChannels)));
          const write = (finish: TransformSums, window: number) => {
            const filterBytes = f.let(i32.mul(channels, window * floatBytes), "filterBytes");
            const to = i32.add(i32.mul(firstFilter, filterBytes), i32.mul(channel, window * floatBytes));
            f.call(finish, {
              sums: i32.add(i32.add(p.sums, sumsOf(channel)), i32.mul(firstFilter, pixelBytes)),
              productBytes: sumBytes,
              filters: i32.sub(lastFilter, firstFilter),
              channels: count,
              ...{ to: i32.add(p.weights, to), filterBytes },
            });
          };
          f.if(
            i32.eq(products, 1),
            () => write(copySums, 1),
            () => write(transformSums, 9),
          );
        });
      });
    });
  });

  const partParams = {
    ...({ begin: "i32", end: "i32", scratch: "i32", squares: "i32", image: "i32", view: "i32" } as const),
    ...({ source: "i32", gradient: "i32", weights: "i32", coefficients: "i32", items: "i32" } as const),
    ...({ steps: "i32", stepsPerPart: "i32", sumBytes: "i32", transformedBytes: "i32" } as const),
    ...({ partBytes: "i32" } as const),
  };
  module.func("squareWeightParts", { params: partParams }, (f, p) => {
    const { i32 } = f;
    const filterGroups = f.let(filterGroupsOf(f, fieldsOf(f, p.squares)("filters")), "filterGroups");
    const transformed = f.let(i32.add(p.scratch, p.sumBytes), "transformed");
    const scratch = f.let(i32.add(transformed, p.transformedBytes), "itemScratch");
    const block = f.local("i32", "block");
    const { squares, source, coefficients } = p;
    forParts(f, p, (part, first, last) =>
      f.forRange(block, first, last, 1, () => {
        f.call(transformGradients, {
          ...{ begin: 0, end: filterGroups, scratch, squares },
          ...{ view: p.view, gradient: p.gradient, to: transformed, firstBlock: block },
        });
        f.call(squareWeights, {
          ...{ begin: 0, end: p.items, scratch, squares, view: p.image, source, transformed },
          ...{ sums: p.scratch, weights: i32.add(p.weights, i32.mul(part, p.partBytes)), coefficients },
          ...{ firstBlock: block, lastBlock: i32.add(block, 1), partBegin: first, partEnd: last },
        });
      }),
    );
  });
}
