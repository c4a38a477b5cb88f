/**
 * How a 3x3 weight gradient by squares is cut into blocks of squares, and into items that threads take. Letters as in
 * index.ts.
 */
import type { HostView } from "../../../../backend.ts";
import type { Conv2dAttributes } from "../../../loops/conv2d.ts";
import type { WasmRuntime } from "../../runtime.ts";
import { groupChannels, imageLayout, pixelBytes } from "./channelsLast.ts";
import { enoughItems } from "./items.ts";
import { RecordLayout } from "./record.ts";
import { bytesOf } from "./sizes.ts";
import { tileProducts } from "./winogradTransforms.ts";

/** With fewer channels or filters the transforms cost more than they save. */
const fewest = 16;
/** Channels of the last group that are not there are computed for nothing, in this proportion to those that are. */
const largestWaste = 1 / 3;
/** Pixels are read four by four. */
const narrowest = 4;
/** Squares of a block: those of sixteen channels and of sixteen filters fit the first cache together. */
const squaresPerBlock = 200;
/** Transformed gradients of all blocks done at once stay in the last cache. */
const cachedBytes = 4 * 2 ** 20;
/** Rows of pixels that stay in the first cache while their channels come in. */
const firstCacheBytes = 16 * 1024;
/** The sixteen products, one after the other, begin at different sets of the first cache. */
const apart = 64;

/** What the kernels know of a weight gradient by squares. */
export const squaresLayout = new RecordLayout([
  "images",
  "squareRows",
  "squareColumns",
  /** Of a block: some images, or some rows of squares of one. */
  "imagesPerBlock",
  "rowsPerBlock",
  "rowBlocks",
  "blocks",
  /** From one of the sixteen products' operands to the next, of a block. */
  "productBytes",
  "channels",
  "filters",
  "filterGroups",
  /** From one of the sixteen products' sums to the next, of a group of channels. */
  "sumBytes",
  /** Of an item, in groups of sixteen. */
  "channelGroupsPerItem",
  "filterGroupsPerItem",
  "filterBlocks",
  /** Bytes of pixels of a block, which the transformed ones follow. */
  "pixelsBytes",
]);

export interface SquaresPlan {
  readonly record: number;
  /** Records of the image and of the output gradient (`imageLayout`). */
  readonly image: number;
  readonly gradient: number;
  readonly channelGroups: number;
  readonly filterGroups: number;
  readonly blocks: number;
  readonly blocksAtOnce: number;
  /** Transformed gradients of `blocksAtOnce` blocks. */
  readonly transformedBytes: number;
  /** Sums of all products. */
  readonly sumsBytes: number;
  readonly items: number;
  readonly scratchBytes: number;
  readonly gradientScratchBytes: number;
  /** Squares of a block. */
  readonly squares: number;
}

/** The plan, or null for what is not a 3x3 window of stride 1 that gains by it. */
export function makeSquaresPlan(
  runtime: WasmRuntime,
  x: HostView,
  gradient: HostView,
  weight: HostView,
  { stride, dilation, groups, padding }: Conv2dAttributes,
): SquaresPlan | null {
  const [filters, channels, R, S] = weight.shape;
  const [images, , P, Q] = gradient.shape;
  const W = x.shape[3];
  const isPlain = groups === 1 && R === 3 && S === 3 && [...stride, ...dilation].every((n) => n === 1);
  if (!isPlain || Math.min(channels, filters) < fewest || Math.min(W, Q) < narrowest) return null;
  const channelGroups = Math.ceil(channels / groupChannels);
  if (groupChannels * channelGroups > (1 + largestWaste) * channels) return null;
  const [squareRows, squareColumns] = [Math.ceil(P / 2), Math.ceil(Q / 2)];
  const ofImage = squareRows * squareColumns;
  const atOnce = Math.max(1, Math.floor(squaresPerBlock / ofImage));
  const imagesPerBlock = Math.ceil(images / Math.ceil(images / atOnce));
  const mostRows = Math.max(1, Math.floor(squaresPerBlock / squareColumns));
  const rowsPerBlock = Math.ceil(squareRows / Math.ceil(squareRows / mostRows));
  const rowBlocks = Math.ceil(squareRows / rowsPerBlock);
  const blocks = rowBlocks * Math.ceil(images / imagesPerBlock);
  const squares = imagesPerBlock * rowsPerBlock * squareColumns;
  const productBytes = pixelBytes * squares + apart;
  const filterGroups = Math.ceil(filters / groupChannels);
  const sumBytes = pixelBytes * groupChannels * filterGroups;
  const channelGroupsPerItem = Math.max(1, Math.floor(channelGroups / enoughItems));
  const channelBlocks = Math.ceil(channelGroups / channelGroupsPerItem);
  const parts = Math.min(filterGroups, Math.ceil(enoughItems / channelBlocks));
  const filterGroupsPerItem = Math.ceil(filterGroups / parts);
  const filterBlocks = Math.ceil(filterGroups / filterGroupsPerItem);
  const pixelsOf = (margin: number) =>
    pixelBytes * imagesPerBlock * (2 * rowsPerBlock + margin) * (2 * squareColumns + margin);
  const viewOf = (view: HostView, beforeV: number, beforeH: number, margin: number) => {
    const { shape } = view;
    const columns = 2 * squareColumns + margin;
    const [image, channel, row] = bytesOf(view);
    return imageLayout.write(runtime, {
      ...{ image, channel, row, channels: shape[1], extentV: shape[2], extentH: shape[3] },
      ...{ beforeV, beforeH, columns },
      rowsAtOnce: Math.max(1, Math.floor(firstCacheBytes / (pixelBytes * columns))),
    });
  };
  const slot = filterGroups * tileProducts * productBytes;
  const blocksAtOnce = Math.min(blocks, Math.max(1, Math.floor(cachedBytes / slot)));
  return {
    record: squaresLayout.write(runtime, {
      ...{ images, squareRows, squareColumns, imagesPerBlock, rowsPerBlock, rowBlocks, blocks },
      ...{ productBytes, channels, filters, filterGroups, sumBytes },
      ...{ channelGroupsPerItem, filterGroupsPerItem, filterBlocks },
      pixelsBytes: pixelsOf(2),
    }),
    image: viewOf(x, padding[0], padding[2], 2),
    gradient: viewOf(gradient, 0, 0, 0),
    ...{ channelGroups, filterGroups, blocks, blocksAtOnce, squares },
    transformedBytes: blocksAtOnce * slot,
    sumsBytes: channelGroups * tileProducts * sumBytes,
    items: channelBlocks * filterBlocks,
    scratchBytes: pixelsOf(2) + tileProducts * productBytes,
    gradientScratchBytes: pixelsOf(0),
  };
}
