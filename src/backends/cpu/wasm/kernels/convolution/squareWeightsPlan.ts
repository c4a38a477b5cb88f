/**
 * How a 3x3 weight gradient by squares, or a 1x1 by single pixels, is cut into blocks and into items that threads take.
 * Letters as in index.ts.
 */
import type { HostView } from "../../../../backend.ts";
import type { Conv2dAttributes } from "../../../loops/conv2d.ts";
import type { WasmRuntime } from "../../runtime.ts";
import { groupChannels, pixelBytes } from "./channelsLast.ts";
import { enoughItems } from "./items.ts";
import { RecordLayout } from "./record.ts";
import { isDense } from "./sizes.ts";
import { groupsOf, imageSizesOf, makeSquareBlocks, type SquareBlocks, writeImage } from "./squareBlocks.ts";
import { tileProducts } from "./squareTransforms.ts";
import { type Parts, partsOf } from "./weightParts.ts";

/** With fewer channels or filters the transforms cost more than they save. */
const fewest = 16;
/** Channels of the last group that are not there are computed for nothing, in this proportion to those that are. */
const largestWaste = 1 / 3;
/**
 * Single pixels are worth it in images of so many: in larger ones channels last cost as much as packing and adding up
 * lanes do in weightGradient.ts. On 7 x 7 81 to 85 % of the ceiling against 70 to 73, on 14 x 14 66 to 72 against 71 to
 * 76, on 56 x 56 (128 to 128 channels) 63 to 69 against 65 to 68.
 */
const largestPlane = 64;
/** Pixels are read four by four. */
const narrowest = 4;
/** Squares of a block: those of sixteen channels and of sixteen filters fit the first cache together. */
const squaresPerBlock = 200;
/** Transformed gradients of all blocks done at once stay in the second cache, which is worth 1 to 4 %. */
const cachedBytes = 2 ** 20;

/** What the kernels know besides the blocks. */
export const squareWeightsLayout = new RecordLayout([
  "blocks",
  /** Products: sixteen of squares, or one of single pixels. */
  "products",
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

export interface SquareWeightsPlan extends Parts {
  readonly record: number;
  readonly blocks: SquareBlocks;
  /** Records of the image and of the output gradient (`imageLayout`). */
  readonly image: number;
  readonly gradient: number;
  readonly products: number;
  readonly channelGroups: number;
  readonly filterGroups: number;
  readonly blocksAtOnce: number;
  /** Transformed gradients of a block. */
  readonly slotBytes: number;
  /** Sums of all products. */
  readonly sumsBytes: number;
  readonly items: number;
  readonly scratchBytes: number;
  readonly gradientScratchBytes: number;
}

/** The plan, or null for what is neither a 3x3 nor a 1x1 window of stride 1 that gains by it. */
export function planSquareWeights(
  runtime: WasmRuntime,
  x: HostView,
  gradient: HostView,
  weight: HostView,
  attributes: Conv2dAttributes,
): SquareWeightsPlan | null {
  const { stride, dilation, groups, padding } = attributes;
  const [filters, channels, R, S] = weight.shape;
  const isPlain = groups === 1 && R === S && [...stride, ...dilation].every((n) => n === 1);
  const isPixel = R === 1 && padding.every((margin) => margin === 0) && isFlat(x) && isFlat(gradient);
  if (!isPlain || !(isPixel || R === 3) || Math.min(channels, filters) < fewest) return null;
  const [channelGroups, filterGroups] = [groupsOf(channels), groupsOf(filters)];
  if (groupChannels * channelGroups > (1 + largestWaste) * channels) return null;
  const sizes = isPixel ? pixelSizes(x, gradient) : squareSizes(x, gradient, padding);
  const { ofImage, ofGradient, side, products } = sizes;
  if (Math.min(ofImage.extentH, ofGradient.extentH) < narrowest) return null;
  const outputs = { images: x.shape[0], rows: ofGradient.extentV, columns: ofGradient.extentH };
  const blocks = makeSquareBlocks(runtime, outputs, squaresPerBlock, pixelBytes, side);
  const margin = R - 1;
  const sumBytes = pixelBytes * groupChannels * filterGroups;
  const channelGroupsPerItem = Math.max(1, Math.floor(channelGroups / enoughItems));
  const channelBlocks = Math.ceil(channelGroups / channelGroupsPerItem);
  const parts = Math.min(filterGroups, Math.ceil(enoughItems / channelBlocks));
  const filterGroupsPerItem = Math.ceil(filterGroups / parts);
  const filterBlocks = Math.ceil(filterGroups / filterGroupsPerItem);
  const slot = filterGroups * products * blocks.productBytes;
  const blocksAtOnce = Math.min(blocks.blocks, Math.max(1, Math.floor(cachedBytes / slot)));
  const sumsBytes = channelGroups * products * sumBytes;
  const positions = outputs.images * outputs.rows * outputs.columns;
  return {
    record: squareWeightsLayout.write(runtime, {
      ...{ blocks: blocks.record, products, channels, filters, sumBytes },
      ...{ channelGroupsPerItem, filterGroupsPerItem, filterBlocks },
      pixelsBytes: blocks.pixelsBytes(margin),
    }),
    image: writeImage(runtime, ofImage, blocks, margin),
    gradient: writeImage(runtime, ofGradient, blocks, 0),
    ...{ blocks, products, channelGroups, filterGroups, blocksAtOnce },
    ...{ slotBytes: slot, sumsBytes },
    ...partsOf({
      kind: "squares",
      ...{ weights: filters * channels * R * S, positions },
      ...{ steps: blocks.blocks, atOnce: blocksAtOnce, sumBytes: sumsBytes },
    }),
    items: channelBlocks * filterBlocks,
    scratchBytes: blocks.pixelsBytes(margin) + products * blocks.productBytes,
    gradientScratchBytes: blocks.pixelsBytes(0),
  };
}

function squareSizes(x: HostView, gradient: HostView, padding: readonly number[]) {
  const ofImage = imageSizesOf(x, [padding[0], padding[2]]);
  return { ofImage, ofGradient: imageSizesOf(gradient, [0, 0]), side: 2, products: tileProducts };
}

/** Small planes without gaps are taken as one row each. */
const isFlat = (view: HostView): boolean => view.shape[2] * view.shape[3] <= largestPlane && isDense(view);

function pixelSizes(x: HostView, gradient: HostView) {
  const flat = (view: HostView) => ({
    ...imageSizesOf(view, [0, 0]),
    extentV: 1,
    extentH: view.shape[2] * view.shape[3],
  });
  return { ofImage: flat(x), ofGradient: flat(gradient), side: 1, products: 1 };
}
