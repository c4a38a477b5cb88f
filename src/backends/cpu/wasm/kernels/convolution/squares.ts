/**
 * The weight gradient of 3x3 windows by Winograd's F(3x3, 2x2): the gradient of a square of 2 x 2 outputs and the 4 x 4
 * pixels under it take 16 multiplications and not 36. dW = Gᵀ [ (A g Aᵀ) ⊙ (Bᵀ d B) ] G, with the matrices of
 * winograd.ts, where the products of all squares of all images are added up before the last transform, so that each of
 * the sixteen is a matrix product, filters by squares times squares by channels.
 *
 * Channels are last while this goes on (channelsLast.ts): squares of all images follow each other without a gap, and an
 * operand's row is sixteen channels of one square.
 */
import type { Expression, FunctionBuilder, Local, ModuleBuilder } from "../../encoder/index.ts";
import {
  definePutChannelsLast,
  groupChannels,
  imageLayout,
  type PutChannelsLast,
  pixelBytes,
} from "./channelsLast.ts";
import { panelCount, panelHeight } from "./dotBlock.ts";
import { coefficientBytes } from "./normRelu.ts";
import { floatBytes } from "./record.ts";
import { squaresLayout } from "./squaresPlan.ts";
import {
  defineTransformGradient,
  defineTransformPixels,
  defineTransformSums,
  type TransformSquares,
} from "./squareTransforms.ts";
import { columnsOf, defineProductTile, type TileShape, tileRows } from "./tile.ts";
import { tileProducts } from "./winogradTransforms.ts";

type Field = (typeof squaresLayout.fields)[number];

const fieldsOf = (f: FunctionBuilder, squares: Local<"i32">) => (name: Field) =>
  f.let(squaresLayout.load(f, squares, name), name);

/** The images and rows of squares of a block, of which the last ones have fewer. */
function blockOf(f: FunctionBuilder, squares: Local<"i32">, block: Local<"i32">) {
  const { i32 } = f;
  const field = fieldsOf(f, squares);
  const part = (index: Expression<"i32">, size: Local<"i32">, whole: Local<"i32">) => {
    const first = f.let(i32.mul(index, size));
    const left = f.let(i32.sub(whole, first));
    return { first, count: f.let(f.select(left, size, i32.lt_s(left, size))) };
  };
  const [imagesPerBlock, images] = (["imagesPerBlock", "images"] as const).map(field);
  const [rowsPerBlock, rows, rowBlocks] = (["rowsPerBlock", "squareRows", "rowBlocks"] as const).map(field);
  return {
    images: part(i32.div_u(block, rowBlocks), imagesPerBlock, images),
    rows: part(i32.rem_u(block, rowBlocks), rowsPerBlock, rows),
  };
}

const groupParams = {
  squares: "i32",
  view: "i32",
  block: "i32",
  /** The first pixel of the tensor. */
  from: "i32",
  /** The first channel of the group. */
  channel: "i32",
  pixels: "i32",
  to: "i32",
  /** Of the first channel of all, or 0. */
  coefficients: "i32",
} as const;

/** (squares, view, block, from, channel, pixels, to, coefficients): a group's transformed squares of a block. */
function defineTransformGroup(
  module: ModuleBuilder,
  name: string,
  margin: number,
  putChannelsLast: PutChannelsLast,
  transform: TransformSquares,
) {
  return module.func(name, { params: groupParams, exported: false }, (f, p) => {
    const { i32 } = f;
    const field = fieldsOf(f, p.squares);
    const [image, from, to] = ["image", "from", "to"].map((local) => f.local("i32", local));
    const { images, rows } = blockOf(f, p.squares, p.block);
    const pixelRows = f.let(i32.add(i32.shl(rows.count, 1), margin), "pixelRows");
    const rowBytes = f.let(i32.mul(imageLayout.load(f, p.view, "columns"), pixelBytes), "rowBytes");
    const imageBytes = f.let(imageLayout.load(f, p.view, "image"), "imageBytes");
    const ofGroup = i32.mul(p.channel, imageLayout.load(f, p.view, "channel"));
    from.set(i32.add(i32.add(p.from, ofGroup), i32.mul(images.first, imageBytes)));
    to.set(p.pixels);
    const channels = f.let(i32.sub(imageLayout.load(f, p.view, "channels"), p.channel), "channels");
    const line = f.let(i32.add(p.coefficients, i32.mul(p.channel, coefficientBytes)));
    const coefficients = f.let(f.select(line, 0, p.coefficients), "ofGroup");
    f.forRange(image, 0, images.count, 1, () => {
      f.call(putChannelsLast, {
        ...{ view: p.view, from, channels, firstRow: i32.shl(rows.first, 1), rows: pixelRows, to },
        coefficients,
      });
      from.set(i32.add(from, imageBytes));
      to.set(i32.add(to, i32.mul(pixelRows, rowBytes)));
    });
    f.call(transform, {
      ...{ from: p.pixels, images: images.count, rows: rows.count, rowBytes, to: p.to },
      columns: field("squareColumns"),
      productBytes: field("productBytes"),
    });
  });
}

/** Tiles of all columns of a group of channels, `rows` filters each. */
function defineGroupTiles(module: ModuleBuilder, shape: TileShape, rows: number, accumulate: boolean) {
  const tile = defineProductTile(module, shape, rows, accumulate, { a: pixelBytes, b: pixelBytes });
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
 * lastBlock): the item is some groups of channels and of filters. Sums wait at `sums` for the next blocks; the last
 * ones write the weights.
 */
export function defineSquareWeights(module: ModuleBuilder, shape: TileShape): void {
  const putChannelsLast = definePutChannelsLast(module, shape);
  const [gradientGroup, pixelGroup] = [
    defineTransformGroup(module, "gradientGroup", 0, putChannelsLast, defineTransformGradient(module)),
    defineTransformGroup(module, "pixelGroup", 2, putChannelsLast, defineTransformPixels(module)),
  ];
  const transformSums = defineTransformSums(module);
  const gradientParams = {
    ...({ begin: "i32", end: "i32", scratch: "i32", squares: "i32", view: "i32", gradient: "i32" } as const),
    ...({ to: "i32", firstBlock: "i32" } as const),
  };
  module.func("transformGradients", { params: gradientParams }, (f, p) => {
    const { i32 } = f;
    const field = fieldsOf(f, p.squares);
    const [filterGroups, productBytes] = (["filterGroups", "productBytes"] as const).map(field);
    const item = f.local("i32", "item");
    f.forRange(item, p.begin, p.end, 1, () =>
      f.call(gradientGroup, {
        ...{ squares: p.squares, view: p.view, from: p.gradient, pixels: p.scratch, coefficients: 0 },
        block: i32.add(p.firstBlock, i32.div_u(item, filterGroups)),
        channel: i32.mul(i32.rem_u(item, filterGroups), groupChannels),
        to: i32.add(p.to, i32.mul(item, i32.mul(productBytes, tileProducts))),
      }),
    );
  });

  const [firstTiles, addTiles] = [false, true].map((accumulate) =>
    Array.from({ length: tileRows }, (_, i) => defineGroupTiles(module, shape, i + 1, accumulate)),
  );
  const params = {
    ...({ begin: "i32", end: "i32", scratch: "i32", squares: "i32", view: "i32", source: "i32" } as const),
    ...({ transformed: "i32", sums: "i32", weights: "i32", coefficients: "i32" } as const),
    ...({ firstBlock: "i32", lastBlock: "i32" } as const),
  };
  module.func("squareWeights", { params }, (f, p) => {
    const { i32 } = f;
    const field = fieldsOf(f, p.squares);
    const [productBytes, sumBytes, filters] = (["productBytes", "sumBytes", "filters"] as const).map(field);
    const [channels, filterGroups] = (["channels", "filterGroups"] as const).map(field);
    const [channelsPerItem, filtersPerItem] = (["channelGroupsPerItem", "filterGroupsPerItem"] as const).map(
      (name) => f.let(i32.mul(field(name), groupChannels)),
    );
    const [filterBlocks, squareColumns] = (["filterBlocks", "squareColumns"] as const).map(field);
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
    const operandBytes = f.let(i32.mul(productBytes, tileProducts), "operandBytes");
    const pixels = p.scratch;
    const transformed = f.let(i32.add(pixels, pixelsBytes), "transformedPixels");
    const sumsOf = (group: Local<"i32">) => i32.mul(group, i32.mul(sumBytes, tileProducts / groupChannels));
    const multiply = (tiles: typeof firstTiles) => {
      b.set(transformed);
      f.forRange(product, 0, tileProducts, 1, () => {
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
        const { images, rows } = blockOf(f, p.squares, block);
        depth.set(i32.mul(i32.mul(images.count, rows.count), squareColumns));
        f.forRange(channel, firstChannel, lastChannel, groupChannels, () => {
          groupSums.set(i32.add(p.sums, sumsOf(channel)));
          f.call(pixelGroup, {
            ...{ squares: p.squares, view: p.view, block, from: p.source, channel },
            ...{ pixels, to: transformed, coefficients: p.coefficients },
          });
          f.if(
            block,
            () => multiply(addTiles),
            () => multiply(firstTiles),
          );
        });
      });
      f.if(i32.eq(p.lastBlock, field("blocks")), () => {
        const filterBytes = f.let(i32.mul(channels, 9 * floatBytes), "filterBytes");
        f.forRange(channel, firstChannel, lastChannel, groupChannels, () => {
          count.set(i32.sub(channels, channel));
          const to = i32.add(i32.mul(firstFilter, filterBytes), i32.mul(channel, 9 * floatBytes));
          f.call(transformSums, {
            sums: i32.add(i32.add(p.sums, sumsOf(channel)), i32.mul(firstFilter, pixelBytes)),
            productBytes: sumBytes,
            filters: i32.sub(lastFilter, firstFilter),
            channels: f.select(count, groupChannels, i32.lt_s(count, groupChannels)),
            ...{ to: i32.add(p.weights, to), filterBytes },
          });
        });
      });
    });
  });
}
