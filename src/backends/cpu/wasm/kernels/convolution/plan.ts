/**
 * How a convolution becomes a product of matrices: which rows and columns there are, where each is found, and how the
 * work is cut into items that threads take. A plan is made once for a size and used in every step.
 *
 * The right operand B of the product is never built. Its column j is an output position and begins at `gather[j]`; its
 * row k is a channel and a tap of the window and lies `rows[k]` further. Both are bytes from the item's image, which
 * is either the tensor itself (1x1 windows) or a copy with its margin in scratch memory, taken apart by the phases of
 * the stride so that every tap is a plain shift (sweep.ts).
 */
import type { WasmRuntime } from "../../runtime.ts";
import type { GatherSizes } from "./gatherSizes.ts";
import { cut, cutNarrow, enoughItems, evenItems, halvesOf, type ItemCut, isNarrow } from "./items.ts";
import { evenPhaseOf, pitchesOf, stretches } from "./margins.ts";
import { floatBytes, RecordLayout, writeIntegers } from "./record.ts";
import { columnsOf, type TileShape, tileRows } from "./tile.ts";
import { tileTable } from "./tileTable.ts";

/** Panels of an item at least, so that gathering stays a small share of it. */
const fewestPanels = 3;
/** Depth of a product done at once: a sliver of B and a panel of A of this depth fit the first cache together. */
const largestBlock = 320;

/** Everything kernels know of a plan. */
export const planLayout = new RecordLayout([
  "images",
  "groups",
  "channels",
  "results",
  "depth",
  "block",
  "rowTable",
  "tileTable",
  "imagesPerItem",
  "rowsPerItem",
  "imageBlocks",
  "rowBlocks",
  "columnBlocks",
  "columnsPerItem",
  "panelBlocks",
  "panelsPerItem",
  "outputRows",
  "outputColumns",
  "inPlace",
  "sourceImage",
  "sourceGroup",
  "sourceChannel",
  "sourceRow",
  "targetImage",
  "targetGroup",
  "targetChannel",
  "targetRow",
  "targetColumn",
  "strideV",
  "strideH",
  "beforeV",
  "extentV",
  "reachV",
  "rowBytes",
  "rowLength",
  "planeRows",
  "slack",
  "phaseBytes",
  "channelBytes",
  "imageBytes",
  "columnTable",
  "extentH",
  "evenPhase",
  "tallPanels",
  "panels",
  "panelRows",
]);

export interface Plan {
  readonly address: number;
  readonly items: number;
  /** Items of an image, and what one takes. */
  readonly rowBlocks: number;
  readonly cut: ItemCut;
  readonly depth: number;
  readonly block: number;
  readonly results: number;
  readonly groups: number;
  readonly panels: number;
  /** Scratch memory for the copied image of an item. */
  readonly itemImageBytes: number;
  /** Positions of an item, over the number of items that share them. */
  readonly positionsPerItem: number;
  /** Read where it lies in the padded image, without slivers (narrow.ts). */
  readonly narrow: boolean;
  /** Scratch memory of an item besides the image. */
  readonly itemBytes: number;
}

/** A plan, and where the weights of its steps lie. */
export interface WeightedPlan {
  readonly plan: Plan;
  /** Address of where the weights of each step lie. */
  readonly weightTable: number;
}

/** Panels of A for so many rows: as even as they can be, the taller ones first. */
function panelsOf(rows: number, tallest: number): { panels: number; tall: number; height: number } {
  const panels = Math.ceil(rows / tallest);
  return { panels, tall: rows % panels, height: Math.floor(rows / panels) };
}

/** How the weight gradient walks images: so many at once with all their rows, and only some of their channels. */
export interface WholeImages {
  readonly images: number;
  readonly channels: number;
  /** Not 0: planes of a channel follow each other, image by image, and so many zeros follow the last one. */
  readonly slack: number;
}

/** Items of a product of its own (phasePairs.ts), which does all of the depth at once. */
export interface OwnItems extends ItemCut {
  readonly tallestPanel: number;
}

/** Makes the plan of a gathered product, or of the weight gradient or another that has its own items. */
export function makePlan(
  runtime: WasmRuntime,
  shape: TileShape,
  sizes: GatherSizes,
  whole?: WholeImages,
  given?: OwnItems,
): Plan {
  const { images, groups, channels, results, vertical, horizontal, taps, inPlace, source, target } = sizes;
  const depth = channels * taps.length;
  const narrow = !whole && !given && !inPlace && isNarrow(shape, sizes);
  const own = () => (narrow ? cutNarrow(sizes) : cut(sizes));
  const { imagesPerItem, rowsPerItem } = whole
    ? { imagesPerItem: whole.images, rowsPerItem: vertical.outputs }
    : (given ?? own());
  const pitches = pitchesOf(sizes);
  const rowBytes = inPlace ? source.row : floatBytes * pitches.row;
  const planeRows = rowsPerItem + vertical.reach;
  const evenPhase = inPlace ? -1 : evenPhaseOf(horizontal);
  // Two phases are written at once, a vector of zeros after each row.
  const slack = Math.max(whole?.slack ?? 0, horizontal.length - pitches.row, evenPhase < 0 ? 0 : 4);
  const stacked = whole !== undefined && whole.slack > 0;
  const phaseRows = planeRows + (stacked ? (whole.images - 1) * pitches.rows : 0);
  const phaseBytes = phaseRows * rowBytes + floatBytes * slack;
  const channelBytes = inPlace ? source.channel : phaseBytes * vertical.stride * horizontal.stride;
  const itemChannels = whole?.channels ?? channels;
  const nextImage = stacked ? pitches.rows * rowBytes : channelBytes * itemChannels;
  const imageBytes = inPlace ? source.image : nextImage;
  const block = narrow || given ? depth : Math.ceil(depth / Math.ceil(depth / largestBlock));
  const rowTable = writeIntegers(
    runtime,
    Array.from({ length: channels }, (_, c) =>
      taps.map(
        ({ phase, shift }) =>
          c * channelBytes + phase * phaseBytes + shift[0] * rowBytes + shift[1] * floatBytes,
      ),
    ).flat(),
  );
  const { panels, tall, height } = panelsOf(results, given?.tallestPanel ?? tileRows);
  const imageBlocks = Math.ceil(images / imagesPerItem);
  const rowBlocks = Math.ceil(vertical.outputs / rowsPerItem);
  const items = groups * imageBlocks * rowBlocks;
  const columns = columnsOf(shape);
  const tiles = Math.ceil((imagesPerItem * rowsPerItem * horizontal.outputs) / columns);
  const tileParts = inPlace ? Math.min(tiles, Math.ceil(evenItems / items)) : 1;
  const tilesPerItem = Math.ceil(tiles / tileParts);
  const columnBlocks = Math.ceil(tiles / tilesPerItem);
  const wantedParts = narrow || given ? 1 : Math.ceil(enoughItems / (items * columnBlocks));
  const parts = Math.max(1, Math.min(wantedParts, Math.floor(panels / fewestPanels)));
  const panelsPerItem = Math.ceil(panels / parts);
  const panelBlocks = Math.ceil(panels / panelsPerItem);
  const address = planLayout.write(runtime, {
    ...{ images, groups, channels, results, depth, block, rowTable },
    tileTable: tileTable(runtime, columnsOf(shape), {
      ...{ images: imagesPerItem, rows: rowsPerItem, columns: horizontal.outputs },
      ...{ imageBytes, rowBytes, target },
    }),
    ...{ imagesPerItem, rowsPerItem, imageBlocks, rowBlocks, panelBlocks, panelsPerItem },
    ...{ columnBlocks, columnsPerItem: columns * tilesPerItem },
    outputRows: vertical.outputs,
    outputColumns: horizontal.outputs,
    inPlace: inPlace ? 1 : 0,
    sourceImage: source.image,
    sourceGroup: source.group,
    sourceChannel: source.channel,
    sourceRow: source.row,
    targetImage: target.image,
    targetGroup: target.group,
    targetChannel: target.channel,
    targetRow: target.row,
    targetColumn: target.column,
    strideV: vertical.stride,
    strideH: horizontal.stride,
    beforeV: vertical.before,
    extentV: vertical.extent,
    reachV: vertical.reach,
    ...{ rowBytes, rowLength: horizontal.length, planeRows, slack },
    ...{ phaseBytes, channelBytes, imageBytes },
    columnTable: writeIntegers(
      runtime,
      stretches(horizontal).flatMap(({ lead, count, first, rest }) => [
        lead,
        count,
        first * floatBytes,
        rest,
      ]),
    ),
    extentH: horizontal.extent,
    evenPhase,
    tallPanels: tall,
    panels,
    panelRows: height,
  });
  return {
    ...{ address, depth, block, results, groups, panels, rowBlocks },
    cut: { imagesPerItem, rowsPerItem },
    items: items * columnBlocks * panelBlocks,
    // Tiles read beyond the last position, by less than their width.
    itemImageBytes: inPlace
      ? 0
      : channelBytes * itemChannels * (stacked ? 1 : imagesPerItem) + floatBytes * columns,
    positionsPerItem: (imagesPerItem * rowsPerItem * horizontal.outputs) / (columnBlocks * panelBlocks),
    narrow,
    itemBytes: narrow
      ? floatBytes * columns * results * Math.ceil((imagesPerItem * halvesOf(shape, sizes, rowsPerItem)) / 2)
      : floatBytes * columns * (block + results),
  };
}
