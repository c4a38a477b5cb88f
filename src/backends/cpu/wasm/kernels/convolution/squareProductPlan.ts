/** How a 3x3 convolution, or its input gradient, is computed by squares: which of them are, and in what blocks. */
import type { WasmRuntime } from "../../runtime.ts";
import { groupChannels, pixelBytes } from "./channelsLast.ts";
import type { GatherAxis } from "./gatherSizes.ts";
import { enoughItems } from "./items.ts";
import { floatBytes, RecordLayout } from "./record.ts";
import type { WeightedProduct } from "./sizes.ts";
import { groupsOf, makeSquareBlocks, type SquareBlocks, writeImage } from "./squareBlocks.ts";
import { squareSteps } from "./squareTile.ts";
import { tileProducts } from "./squareTransforms.ts";

/** With fewer channels or results the transforms cost more than they save. */
const fewest = 16;
/** Results of the last group that are not there are computed for nothing, in this proportion to those that are. */
const largestWaste = 0.6;
/** Pixels are read and written four by four. */
const narrowest = 4;
/** More weights than these are transformed in memory, which takes as long as multiplying them by so many squares. */
const [cachedWeights, fewestSquares] = [2 ** 17, 32];
/**
 * A block's transformed pixels stay in the second cache, as long as it has enough squares to read the weights for; and
 * blocks of so many squares are dealt out to threads.
 */
const [blockBytes, leastSquares, mostSquares, dealtSquares] = [512 * 1024, 48, 200, 24];

export const squareProductLayout = new RecordLayout([
  "blocks",
  /** Records of the image and of the target (`imageLayout`). */
  "image",
  "target",
  "channels",
  "results",
  /** Of a transformed square. */
  "squareBytes",
  /** From one of the sixteen products' weights to the next, of a group of results. */
  "weightBytes",
  /** From one of the sixteen products' sums to the next. */
  "sumBytes",
  /** Bytes of a block's pixels, which its transformed ones follow, and bytes of those, which the sums follow. */
  "pixelsBytes",
  "transformedBytes",
]);

export interface SquareProductPlan {
  readonly record: number;
  readonly blocks: SquareBlocks;
  readonly channels: number;
  readonly results: number;
  /** Weights of a group of results and a product. */
  readonly weightBytes: number;
  readonly scratchBytes: number;
  /** Whether the window is read from its last weight to its first. */
  readonly isTurned: boolean;
  /** From the weights of a channel to those of the next. */
  readonly channelBytes: number;
}

/** Where the weights of a channel lie: one after the other from the first or from the last on, or null. */
function orderOf({ sizes: { taps }, weightTable }: WeightedProduct): "first" | "last" | null {
  const offsets = [0, 1, 2].flatMap((r) =>
    [0, 1, 2].map((s) => {
      const tap = taps.findIndex(({ shift }) => shift[0] === r && shift[1] === s);
      return tap < 0 ? -1 : weightTable[tap];
    }),
  );
  if (offsets.every((offset, i) => offset === floatBytes * i)) return "first";
  return offsets.every((offset, i) => offset === floatBytes * (8 - i)) ? "last" : null;
}

const isPlain = ({ stride, reach }: GatherAxis): boolean => stride === 1 && reach === 2;

/** The plan, or null for what is not a 3x3 window of stride 1 that gains by it. */
export function planSquareProduct(runtime: WasmRuntime, product: WeightedProduct): SquareProductPlan | null {
  const { groups, images, channels, results, vertical, horizontal, taps, source, target } = product.sizes;
  const isWindow = groups === 1 && taps.length === 9 && isPlain(vertical) && isPlain(horizontal);
  if (!isWindow || target.column !== floatBytes || Math.min(channels, results) < fewest) return null;
  const { before, extent, outputs: columns } = horizontal;
  const isInside = before >= 0 && before + extent <= columns + horizontal.reach;
  if (!isInside || Math.min(extent, columns) < narrowest) return null;
  const resultGroups = groupsOf(results);
  if (groupChannels * resultGroups > (1 + largestWaste) * results) return null;
  const order = orderOf(product);
  if (!order) return null;
  const squareBytes = pixelBytes * groupsOf(channels);
  const outputs = { images, rows: vertical.outputs, columns: horizontal.outputs };
  const ofAll = images * Math.ceil(outputs.rows / 2) * Math.ceil(outputs.columns / 2);
  if (channels * results > cachedWeights && ofAll < fewestSquares) return null;
  const cached = Math.max(leastSquares, Math.floor(blockBytes / (tileProducts * squareBytes)));
  const most = Math.min(mostSquares, cached, Math.max(dealtSquares, Math.ceil(ofAll / enoughItems)));
  const blocks = makeSquareBlocks(runtime, outputs, most, squareBytes);
  const steps = squareSteps * Math.ceil(channels / squareSteps);
  const weightBytes = pixelBytes * (steps + 1);
  const sumBytes = pixelBytes * (blocks.squares + 1);
  const transformedBytes = tileProducts * blocks.productBytes;
  const pixelsBytes = blocks.pixelsBytes(2);
  const image = {
    ...{ image: source.image, channel: source.channel, row: source.row, channels },
    ...{ extentV: vertical.extent, extentH: horizontal.extent },
    ...{ beforeV: vertical.before, beforeH: horizontal.before },
  };
  const written = {
    ...{ image: target.image, channel: target.channel, row: target.row, channels: results },
    ...{ extentV: outputs.rows, extentH: outputs.columns, beforeV: 0, beforeH: 0 },
  };
  return {
    record: squareProductLayout.write(runtime, {
      ...{ blocks: blocks.record, channels, results, squareBytes, weightBytes, sumBytes },
      ...{ pixelsBytes, transformedBytes },
      image: writeImage(runtime, image, blocks, 2),
      target: writeImage(runtime, written, blocks, 0),
    }),
    ...{ blocks, channels, results, weightBytes },
    // The outputs of a group take the place of the block's pixels.
    scratchBytes: pixelsBytes + transformedBytes + tileProducts * sumBytes,
    isTurned: order === "last",
    channelBytes: channels > 1 ? product.weightTable[9] - product.weightTable[0] : 0,
  };
}
