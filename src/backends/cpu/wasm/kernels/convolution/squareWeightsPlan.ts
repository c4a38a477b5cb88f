/**
 * How a 3x3 weight gradient by squares is cut into blocks of squares, and into items that threads take. Letters as in
 * index.ts.
 */
import type { HostView } from "../../../../backend.ts";
import type { Conv2dAttributes } from "../../../loops/conv2d.ts";
import type { WasmRuntime } from "../../runtime.ts";
import { groupChannels, pixelBytes } from "./channelsLast.ts";
import { enoughItems } from "./items.ts";
import { RecordLayout } from "./record.ts";
import { groupsOf, imageSizesOf, makeSquareBlocks, type SquareBlocks, writeImage } from "./squareBlocks.ts";
import { tileProducts } from "./squareTransforms.ts";

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

/** What the kernels know besides the blocks. */
export const squareWeightsLayout = new RecordLayout([
  "blocks",
  "channels",
  "filters",
  /** From one of the sixteen products' sums to the next, of a group of channels. */
  "sumBytes",
  /** Of an item, in groups of sixteen. */
  "channelGroupsPerItem",
  "filterGroupsPerItem",
  "filterBlocks",
  /** Bytes of pixels of a block, which the transformed ones follow. */
  "pixelsBytes",
]);

export interface SquareWeightsPlan {
  readonly record: number;
  readonly blocks: SquareBlocks;
  /** Records of the image and of the output gradient (`imageLayout`). */
  readonly image: number;
  readonly gradient: number;
  readonly channelGroups: number;
  readonly filterGroups: number;
  readonly blocksAtOnce: number;
  /** Transformed gradients of `blocksAtOnce` blocks. */
  readonly transformedBytes: number;
  /** Sums of all products. */
  readonly sumsBytes: number;
  readonly items: number;
  readonly scratchBytes: number;
  readonly gradientScratchBytes: number;
}

/** The plan, or null for what is not a 3x3 window of stride 1 that gains by it. */
export function planSquareWeights(
  runtime: WasmRuntime,
  x: HostView,
  gradient: HostView,
  weight: HostView,
  { stride, dilation, groups, padding }: Conv2dAttributes,
): SquareWeightsPlan | null {
  const [filters, channels, R, S] = weight.shape;
  const [images, , rows, columns] = gradient.shape;
  const isPlain = groups === 1 && R === 3 && S === 3 && [...stride, ...dilation].every((n) => n === 1);
  if (!isPlain || Math.min(channels, filters) < fewest || Math.min(x.shape[3], columns) < narrowest)
    return null;
  const [channelGroups, filterGroups] = [groupsOf(channels), groupsOf(filters)];
  if (groupChannels * channelGroups > (1 + largestWaste) * channels) return null;
  const blocks = makeSquareBlocks(runtime, { images, rows, columns }, squaresPerBlock, pixelBytes);
  const sumBytes = pixelBytes * groupChannels * filterGroups;
  const channelGroupsPerItem = Math.max(1, Math.floor(channelGroups / enoughItems));
  const channelBlocks = Math.ceil(channelGroups / channelGroupsPerItem);
  const parts = Math.min(filterGroups, Math.ceil(enoughItems / channelBlocks));
  const filterGroupsPerItem = Math.ceil(filterGroups / parts);
  const filterBlocks = Math.ceil(filterGroups / filterGroupsPerItem);
  const slot = filterGroups * tileProducts * blocks.productBytes;
  const blocksAtOnce = Math.min(blocks.blocks, Math.max(1, Math.floor(cachedBytes / slot)));
  return {
    record: squareWeightsLayout.write(runtime, {
      ...{ blocks: blocks.record, channels, filters, sumBytes },
      ...{ channelGroupsPerItem, filterGroupsPerItem, filterBlocks },
      pixelsBytes: blocks.pixelsBytes(2),
    }),
    image: writeImage(runtime, imageSizesOf(x, [padding[0], padding[2]]), blocks, 2),
    gradient: writeImage(runtime, imageSizesOf(gradient, [0, 0]), blocks, 0),
    ...{ blocks, channelGroups, filterGroups, blocksAtOnce },
    transformedBytes: blocksAtOnce * slot,
    sumsBytes: channelGroups * tileProducts * sumBytes,
    items: channelBlocks * filterBlocks,
    scratchBytes: blocks.pixelsBytes(2) + tileProducts * blocks.productBytes,
    gradientScratchBytes: blocks.pixelsBytes(0),
  };
}
