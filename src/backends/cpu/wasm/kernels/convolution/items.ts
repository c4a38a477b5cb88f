/** How a gathered product is cut into items that threads take, and which of the two ways to multiply it goes. */
import type { GatherSizes } from "./gatherSizes.ts";
import { pitchesOf } from "./margins.ts";
import { floatBytes } from "./record.ts";
import { columnsOf, type TileShape } from "./tile.ts";

/**
 * So many items let threads share evenly; with fewer, columns that are read where they lie are split too, else the
 * results, and the image is gathered for each part.
 */
export const enoughItems = 4;
/** Of columns read in place, which cost nothing to split: so many share evenly where the last item is smaller. */
export const evenItems = 8;
/** With so many results or fewer, slivers cost as much as they save. */
export const narrowResults = 12;
/** With so many or fewer they cost a little more than computing this share for nothing. */
const [wideResults, largestWaste] = [32, 0.25];
/** Of images with fewer outputs, many slivers reach over two, whose results must be put in place one by one. */
const smallImage = 64;
/** Positions of an item: enough to be worth handing out, few enough that its image stays in the second cache. */
const positionsPerItem = 512;
/** An image that is read in place again and again stays in the second cache. */
const narrowImageBytes = 384 * 1024;

/** The images of an item, and the rows of outputs: either is one, or the other is all. */
export interface ItemCut {
  readonly imagesPerItem: number;
  readonly rowsPerItem: number;
}

/** Some images each, or some rows of one. */
export function cut({ images, vertical, horizontal }: GatherSizes): ItemCut {
  const positions = vertical.outputs * horizontal.outputs;
  const imagesPerItem = Math.ceil(images / Math.max(1, Math.ceil((images * positions) / positionsPerItem)));
  const rowBlocks = imagesPerItem > 1 ? 1 : Math.ceil(positions / positionsPerItem);
  const rowsPerItem = Math.ceil(vertical.outputs / Math.min(rowBlocks, vertical.outputs));
  return { imagesPerItem, rowsPerItem };
}

/** Half tiles that cover some rows of outputs of an image read where it lies, with the margins between them. */
export function halvesOf(shape: TileShape, sizes: GatherSizes, rows: number): number {
  const columns = (rows - 1) * pitchesOf(sizes).row + sizes.horizontal.outputs;
  return Math.ceil((2 * columns) / columnsOf(shape));
}

/** Whether images are read where they lie, margins and all: what is computed for nothing must cost less than packing. */
export function isNarrow(shape: TileShape, sizes: GatherSizes): boolean {
  const { results, vertical, horizontal } = sizes;
  if (results <= narrowResults) return true;
  const computed = (halvesOf(shape, sizes, vertical.outputs) * columnsOf(shape)) / 2;
  const wasted = computed / (vertical.outputs * horizontal.outputs) - 1;
  const isSmall = vertical.outputs * horizontal.outputs < smallImage;
  return wasted <= largestWaste && (results <= wideResults || isSmall);
}

/** Small images together, or some rows of one: in the second cache, and with items for all threads. */
export function cutNarrow(sizes: GatherSizes): ItemCut {
  const { images, groups, channels, vertical, horizontal } = sizes;
  const rowBytes = floatBytes * channels * vertical.stride * horizontal.stride * pitchesOf(sizes).row;
  const atOnce = Math.min(
    Math.floor(narrowImageBytes / (rowBytes * (vertical.outputs + vertical.reach))),
    Math.ceil(positionsPerItem / (vertical.outputs * horizontal.outputs)),
    Math.floor((groups * images) / enoughItems),
  );
  if (atOnce > 1)
    return {
      imagesPerItem: Math.ceil(images / Math.ceil(images / atOnce)),
      rowsPerItem: vertical.outputs,
    };
  const most = Math.max(1, Math.floor(narrowImageBytes / rowBytes) - vertical.reach);
  const blocks = Math.max(Math.ceil(vertical.outputs / most), Math.ceil(enoughItems / (groups * images)));
  return { imagesPerItem: 1, rowsPerItem: Math.ceil(vertical.outputs / Math.min(blocks, vertical.outputs)) };
}
