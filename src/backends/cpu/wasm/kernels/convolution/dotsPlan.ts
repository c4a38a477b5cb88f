/**
 * How the weight gradient is cut into items, batches of images and blocks of positions. Letters as in index.ts.
 *
 * Rows of the gathered image are packed for windows of one pixel that a norm goes before, and where few of the padded
 * image's positions are outputs. Else they are read where they lie, and the output gradient gets zeros where the
 * padded image has its margins: these multiplications cost less than packing every pixel once for each tap.
 */
import type { HostView } from "../../../../backend.ts";
import type { Conv2dAttributes } from "../../../loops/conv2d.ts";
import type { WasmRuntime } from "../../runtime.ts";
import { enoughItems, narrowResults } from "./items.ts";
import { pitchesOf } from "./margins.ts";
import { makePlan } from "./plan.ts";
import { floatBytes, RecordLayout, writeIntegers } from "./record.ts";
import { bytesOf, forwardProduct, isDense } from "./sizes.ts";
import { columnsOf, dotStride, dotTaps, dotTileBytes, type TileShape, tileRows } from "./tile.ts";
import { type Parts, partsOf } from "./weightParts.ts";

/** What the weight gradient knows besides the plan. */
export const dotsLayout = new RecordLayout([
  "plan",
  "rowsPerItem",
  "rowBlocks",
  "resultsPerItem",
  "resultBlocks",
  "taps",
  "imagesPerBatch",
  "stepsPerBatch",
  "positionsPerStep",
  "sumBytes",
  /** Of an image, and from its first one to that of the next. */
  "positions",
  "imagePositions",
  "positionsPerBlock",
  "packedTable",
  "readInPlace",
  "gradientBatch",
  "gradientGroup",
  "gradientRow",
]);

export interface DotsPlan extends Parts {
  readonly record: number;
  readonly items: number;
  readonly scratchBytes: number;
  /** How long an item takes for a step. */
  readonly itemNanoseconds: number;
  /** Images whose positions are walked as one. */
  readonly batch: number;
  /** Batches, or blocks of positions of large images that are read where they lie. */
  readonly steps: number;
  /** Steps whose gradient stays in the cache while all items read it. */
  readonly stepsAtOnce: number;
  /** Sums of all items. */
  readonly sumBytes: number;
  /** Bytes of a channel of the output gradient over a batch, or 0 when it is read where it lies. */
  readonly joinedRow: number;
  /** Zeros after each of its rows, and after each of its planes. */
  readonly margin: number;
  readonly between: number;
}

/**
 * Rows of the gathered image that an item takes: few enough to make items for all threads, as long as the gradient,
 * which every item reads whole, is not read too often.
 */
const [fewestRows, mostRows] = [32, 72];
/** One multiply-add of one thread at its best: for telling what is worth sharing. */
const multiplyNanoseconds = 0.02;
/** Results of an item at least, so that gathering the rows stays a small share of it. */
const fewestResults = 24;
/** Positions walked at once at least where nothing is packed; smaller images are walked together. */
const positionsPerBatch = 1600;
/** Positions of a block: a panel of 6 gradient rows and 2 image rows fit the first cache. */
const largestBlock = 832;
/**
 * An output gradient of this size is read from a cache the second time, of the second size from the second cache. Images
 * of more positions than a block are walked in steps of blocks, so that all items find a block's gradient there: 128 to
 * 128 channels on 56 x 56 gain 2 %, and another 5 with both operands touched (touch.ts).
 */
const [cachedBytes, nearBytes] = [2 * 2 ** 20, 2 ** 19];
/** Packing a row costs as much as multiplying it by so many results. */
const packedRowCost = 10;

/** Bytes of an item's sums. */
function dotSumBytes(shape: TileShape, results: number, rows: number): number {
  return Math.ceil(results / tileRows) * Math.ceil(rows / dotTaps) * dotTileBytes(shape);
}

/**
 * Rows of an item: whole channels where they are small enough, so that no two items copy the same one, and pairs. An odd
 * number of items would leave one of two threads waiting for the other: with 320 rows, a sixth of the time.
 */
function rowsOfItem(allRows: number, groups: number, taps: number): number {
  const enoughRows = Math.ceil((groups * allRows) / enoughItems);
  const fewRows = Math.min(mostRows, Math.max(fewestRows, enoughRows), allRows);
  const blocks = Math.ceil(allRows / fewRows);
  const isOdd = blocks > 1 && (groups * blocks) % 2 === 1;
  const rows = Math.ceil(allRows / (isOdd ? blocks + 1 : blocks));
  const pairs = taps % dotTaps === 0 ? taps : dotTaps * taps;
  const unit = pairs <= fewRows ? pairs : taps <= fewRows ? taps : 1;
  return Math.min(allRows, unit * Math.ceil(rows / unit));
}

/** Makes the plan; with `normed`, for an image that is normed while it is gathered. */
export function makeDotsPlan(
  runtime: WasmRuntime,
  shape: TileShape,
  x: HostView,
  gradient: HostView,
  weight: HostView,
  attributes: Conv2dAttributes,
  normed: boolean,
): DotsPlan {
  const { sizes } = forwardProduct(x, weight, gradient, attributes);
  const { groups, channels, results, taps, inPlace, horizontal } = sizes;
  const [imageBytes, channelBytes] = bytesOf(gradient);
  const [images, , P, Q] = gradient.shape;
  const step = dotStride(shape);
  const width = columnsOf(shape);
  const pitches = pitchesOf(sizes);
  const wasted = (pitches.row * pitches.rows) / (P * Q) - 1;
  const narrow = !inPlace && (results <= narrowResults || wasted * results <= packedRowCost);
  const margin = narrow ? pitches.row - Q : 0;
  const positions = P * (Q + margin);
  const imagePositions = narrow ? pitches.rows * pitches.row : positions;
  // Images that are walked together are packed together.
  const atOnce = narrow
    ? Math.ceil(positionsPerBatch / imagePositions)
    : Math.max(1, Math.floor(largestBlock / positions));
  const batch = Math.ceil(images / Math.ceil(images / atOnce));
  const batchPositions = (batch - 1) * imagePositions + positions;
  const inRows = !narrow && batch === 1 && isDense(gradient) && positions % step === 0;
  const joinedRow = inRows ? 0 : floatBytes * step * Math.ceil(batchPositions / step);
  const allRows = channels * taps.length;
  const rowsPerItem = rowsOfItem(allRows, groups, taps.length);
  const rowBlocks = Math.ceil(allRows / rowsPerItem);
  const wanted = Math.max(1, Math.ceil(enoughItems / (groups * rowBlocks)));
  const parts = Math.max(1, Math.min(wanted, Math.floor(results / fewestResults)));
  const resultsPerItem = Math.ceil(results / parts);
  const resultBlocks = Math.ceil(results / resultsPerItem);
  // A row may begin anywhere in its channel, and the last one end anywhere.
  const itemChannels = Math.min(channels, Math.ceil((rowsPerItem - 1) / taps.length) + 1);
  // The last positions read in place reach beyond the last row, and meet zeros of the gradient there.
  const slack = narrow ? horizontal.reach + step : 0;
  const plan = makePlan(runtime, shape, sizes, {
    images: batch,
    channels: itemChannels,
    slack,
  });
  const gradientRow = inRows ? channelBytes : joinedRow;
  const sumBytes = dotSumBytes(shape, resultsPerItem, rowsPerItem);
  const blocks = Math.ceil(batchPositions / largestBlock);
  const positionsPerBlock = width * Math.ceil(batchPositions / blocks / width);
  const readInPlace = narrow || (inPlace && inRows && !normed);
  const packedBytes = readInPlace ? 0 : floatBytes * rowsPerItem * positionsPerBlock;
  const batches = Math.ceil(images / batch);
  const stepsPerBatch = inPlace ? blocks : 1;
  const steps = batches * stepsPerBatch;
  const record = dotsLayout.write(runtime, {
    ...{
      plan: plan.address,
      rowsPerItem,
      rowBlocks,
      resultsPerItem,
      resultBlocks,
    },
    ...{ taps: taps.length, imagesPerBatch: batch, sumBytes },
    ...{ stepsPerBatch, positionsPerStep: stepsPerBatch > 1 ? positionsPerBlock : batchPositions + step },
    ...{ positions, imagePositions, positionsPerBlock, gradientRow },
    packedTable: writeIntegers(
      runtime,
      Array.from({ length: rowsPerItem + 1 }, (_, row) => floatBytes * positionsPerBlock * row),
    ),
    readInPlace: readInPlace ? 1 : 0,
    gradientBatch: inRows ? imageBytes : groups * results * joinedRow,
    gradientGroup: results * gradientRow,
  });
  const items = groups * rowBlocks * resultBlocks;
  const stepBytes = (floatBytes * gradient.shape[1] * batchPositions) / stepsPerBatch;
  const stepsAtOnce = Math.max(1, Math.floor((stepsPerBatch > 1 ? nearBytes : cachedBytes) / stepBytes));
  // Items of different groups share nothing.
  const atOnceForParts = groups > 1 ? steps : stepsAtOnce;
  return {
    ...{ record, items, batch, steps, joinedRow, margin },
    between: narrow ? imagePositions - positions : 0,
    scratchBytes: floatBytes + packedBytes + plan.itemImageBytes,
    itemNanoseconds: (multiplyNanoseconds * resultsPerItem * rowsPerItem * batchPositions) / stepsPerBatch,
    ...{ stepsAtOnce, sumBytes: items * sumBytes },
    ...partsOf({
      kind: "dots",
      ...{ weights: results * allRows, positions: images * P * Q },
      ...{ steps, atOnce: atOnceForParts, sumBytes: items * sumBytes },
    }),
  };
}
