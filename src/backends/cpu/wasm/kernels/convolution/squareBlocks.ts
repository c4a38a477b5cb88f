/**
 * Blocks of squares: what is transformed at a time, some images or some rows of squares of one. Squares of a block
 * follow each other image by image and row by row, without a gap.
 */
import type { HostView } from "../../../../backend.ts";
import type { FunctionBuilder, FunctionHandle, Local, ModuleBuilder } from "../../encoder/index.ts";
import type { WasmRuntime } from "../../runtime.ts";
import { groupChannels, imageLayout, type PutChannelsLast, pixelBytes } from "./channelsLast.ts";
import { coefficientBytes } from "./normRelu.ts";
import { RecordLayout } from "./record.ts";
import type { TransformSquares } from "./squareTransforms.ts";

const blockLayout = new RecordLayout([
  "images",
  "squareRows",
  "squareColumns",
  "imagesPerBlock",
  "rowsPerBlock",
  "rowBlocks",
  "blocks",
  /** Of transformed squares: from one to the next, and from one of the sixteen to the next. */
  "squareBytes",
  "productBytes",
]);

/** Rows of pixels that stay in the first cache while their channels come in. */
const firstCacheBytes = 16 * 1024;
/** The sixteen, one after the other, begin at different sets of the first cache. */
const apart = 64;

export interface SquareBlocks {
  readonly record: number;
  readonly blocks: number;
  /** Of a block: squares, and bytes of their pixels of a group of channels, with a margin around them or without. */
  readonly squares: number;
  readonly pixelsBytes: (margin: number) => number;
  readonly productBytes: number;
  /** Of outputs, in whole squares. */
  readonly columns: number;
}

/**
 * Cuts images of `rows` by `columns` outputs into blocks of at most `most` squares, or of one row of squares, of `side`
 * outputs on a side.
 */
export function makeSquareBlocks(
  runtime: WasmRuntime,
  { images, rows, columns }: { readonly images: number; readonly rows: number; readonly columns: number },
  most: number,
  squareBytes: number,
  side = 2,
): SquareBlocks {
  const [squareRows, squareColumns] = [Math.ceil(rows / side), Math.ceil(columns / side)];
  const atOnce = Math.max(1, Math.floor(most / (squareRows * squareColumns)));
  const imagesPerBlock = Math.ceil(images / Math.ceil(images / atOnce));
  const mostRows = Math.max(1, Math.floor(most / squareColumns));
  const rowsPerBlock = Math.ceil(squareRows / Math.ceil(squareRows / mostRows));
  const rowBlocks = Math.ceil(squareRows / rowsPerBlock);
  const blocks = rowBlocks * Math.ceil(images / imagesPerBlock);
  const squares = imagesPerBlock * rowsPerBlock * squareColumns;
  const productBytes = squareBytes * squares + apart;
  return {
    record: blockLayout.write(runtime, {
      ...{ images, squareRows, squareColumns, imagesPerBlock, rowsPerBlock, rowBlocks, blocks },
      ...{ squareBytes, productBytes },
    }),
    pixelsBytes: (margin) =>
      pixelBytes * imagesPerBlock * (side * rowsPerBlock + margin) * (side * squareColumns + margin),
    ...{ blocks, squares, productBytes, columns: side * squareColumns },
  };
}

/** Strides in bytes, and extents of an image tensor whose channels are to be put last, or first again. */
export interface ImageSizes {
  readonly image: number;
  readonly channel: number;
  readonly row: number;
  readonly channels: number;
  readonly extentV: number;
  readonly extentH: number;
  readonly beforeV: number;
  readonly beforeH: number;
}

/** Writes the record of an image whose squares have `margin` more pixels than outputs. */
export function writeImage(
  runtime: WasmRuntime,
  sizes: ImageSizes,
  blocks: SquareBlocks,
  margin: number,
): number {
  const columns = blocks.columns + margin;
  const rowsAtOnce = Math.max(1, Math.floor(firstCacheBytes / (pixelBytes * columns)));
  return imageLayout.write(runtime, { ...sizes, columns, rowsAtOnce });
}

/** The sizes of a tensor `[N, C, H, W]`, with margins before it. */
export function imageSizesOf(
  { shape, strides }: HostView,
  [beforeV, beforeH]: readonly number[],
): ImageSizes {
  const [image, channel, row] = strides.map((stride) => 4 * stride);
  const [, channels, extentV, extentH] = shape;
  return { image, channel, row, channels, extentV, extentH, beforeV, beforeH };
}

export const blockFields =
  (f: FunctionBuilder, blocks: Local<"i32">) => (name: (typeof blockLayout.fields)[number]) =>
    f.let(blockLayout.load(f, blocks, name), name);

/** The images and rows of squares of a block, of which the last ones have fewer. */
export function blockOf(f: FunctionBuilder, blocks: Local<"i32">, block: Local<"i32">) {
  const { i32 } = f;
  const field = blockFields(f, blocks);
  const part = (index: Local<"i32">, size: Local<"i32">, whole: Local<"i32">) => {
    const first = f.let(i32.mul(index, size));
    const left = f.let(i32.sub(whole, first));
    return { first, count: f.let(f.select(left, size, i32.lt_s(left, size))) };
  };
  const rowBlocks = field("rowBlocks");
  const images = part(f.let(i32.div_u(block, rowBlocks)), field("imagesPerBlock"), field("images"));
  const rows = part(f.let(i32.rem_u(block, rowBlocks)), field("rowsPerBlock"), field("squareRows"));
  const columns = field("squareColumns");
  const squares = f.let(i32.mul(i32.mul(images.count, rows.count), columns), "squares");
  return { images, rows, squares };
}

const groupParams = {
  blocks: "i32",
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
export type TransformGroup = FunctionHandle<typeof groupParams, undefined>;

/**
 * (blocks, view, block, from, channel, pixels, to, coefficients): a group's transformed squares of a block, or without a
 * transform its pixels, square by square of one. Squares are of `side` outputs, with `margin` more pixels than that.
 */
export function defineTransformGroup(
  module: ModuleBuilder,
  name: string,
  { side, margin }: { readonly side: number; readonly margin: number },
  putChannelsLast: PutChannelsLast,
  transform: TransformSquares | null,
): TransformGroup {
  return module.func(name, { params: groupParams, exported: false }, (f, p) => {
    const { i32 } = f;
    const field = blockFields(f, p.blocks);
    const [image, from, to] = ["image", "from", "to"].map((local) => f.local("i32", local));
    const { images, rows } = blockOf(f, p.blocks, p.block);
    const pixelRows = f.let(i32.add(i32.mul(rows.count, side), margin), "pixelRows");
    const rowBytes = f.let(i32.mul(imageLayout.load(f, p.view, "columns"), pixelBytes), "rowBytes");
    const imageBytes = f.let(imageLayout.load(f, p.view, "image"), "imageBytes");
    const ofGroup = i32.mul(p.channel, imageLayout.load(f, p.view, "channel"));
    from.set(i32.add(i32.add(p.from, ofGroup), i32.mul(images.first, imageBytes)));
    to.set(transform ? p.pixels : p.to);
    const channels = f.let(i32.sub(imageLayout.load(f, p.view, "channels"), p.channel), "channels");
    const line = f.let(i32.add(p.coefficients, i32.mul(p.channel, coefficientBytes)));
    const coefficients = f.let(f.select(line, 0, p.coefficients), "ofGroup");
    f.forRange(image, 0, images.count, 1, () => {
      f.call(putChannelsLast, {
        ...{ view: p.view, from, channels, firstRow: i32.mul(rows.first, side), rows: pixelRows, to },
        coefficients,
      });
      from.set(i32.add(from, imageBytes));
      to.set(i32.add(to, i32.mul(pixelRows, rowBytes)));
    });
    if (!transform) return;
    f.call(transform, {
      ...{ from: p.pixels, images: images.count, rows: rows.count, rowBytes, to: p.to },
      columns: field("squareColumns"),
      squareBytes: field("squareBytes"),
      productBytes: field("productBytes"),
    });
  });
}

/** Channels in whole groups. */
export const groupsOf = (channels: number): number => Math.ceil(channels / groupChannels);
