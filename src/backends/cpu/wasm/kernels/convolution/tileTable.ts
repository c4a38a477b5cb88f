/** The records of an item's tiles: where each column is gathered and where its result goes. */
import type { WasmRuntime } from "../../runtime.ts";
import type { GatherSizes } from "./gatherSizes.ts";
import { floatBytes, writeIntegers } from "./record.ts";

/** A tile of columns: fields, then by column where it is gathered and where its result goes, then its quads. */
export const tileLayout = {
  /** Where the result of the first column goes. */
  out: 0,
  /** 1 when all results lie side by side. */
  direct: 4,
  /** 1 when all columns are gathered side by side. */
  straight: 8,
  gather: 16,
  target: (columns: number): number => 16 + floatBytes * columns,
  /** By quad: how many of its columns follow the first; the rest follow each other. 0: they are scattered. */
  quads: (columns: number): number => 16 + 2 * floatBytes * columns,
  bytes: (columns: number): number => 16 + 3 * floatBytes * columns,
} as const;

/** How many of four gathered columns follow the first without a gap, if the rest follow each other too; else 0. */
function splitOf(quad: Int32Array): number {
  let split = quad.length;
  for (let i = 1; i < quad.length; i++) {
    if (quad[i] === quad[i - 1] + floatBytes) continue;
    if (split < quad.length) return 0;
    split = i;
  }
  return split;
}

/** The columns of an item: its output positions, where each is gathered and where its result goes. */
interface ItemColumns {
  readonly images: number;
  readonly rows: number;
  readonly columns: number;
  readonly imageBytes: number;
  readonly rowBytes: number;
  readonly target: GatherSizes["target"];
}

const knownTables = new WeakMap<WasmRuntime, Map<string, number>>();

/** The address of the records of an item's tiles. Layers that differ in their channels alone share a table. */
export function tileTable(runtime: WasmRuntime, width: number, item: ItemColumns): number {
  const { images, rows, columns, imageBytes, rowBytes, target } = item;
  const between = images > 1 ? [imageBytes, target.image] : [];
  const key = [images, rows, columns, rowBytes, target.row, target.column, ...between].join();
  const known = knownTables.get(runtime) ?? new Map<string, number>();
  knownTables.set(runtime, known);
  const before = known.get(key);
  if (before !== undefined) return before;
  const address = writeIntegers(runtime, tileRecords(item, width));
  known.set(key, address);
  return address;
}

function tileRecords(
  { images, rows, columns, imageBytes, rowBytes, target }: ItemColumns,
  width: number,
): Int32Array {
  const positions = images * rows * columns;
  const tiles = Math.ceil(positions / width);
  const record = tileLayout.bytes(width) / floatBytes;
  const [gatherAt, targetAt, quadsAt] = [
    tileLayout.gather,
    tileLayout.target(width),
    tileLayout.quads(width),
  ];
  const words = new Int32Array(tiles * record);
  let [image, p, q] = [0, 0, 0];
  for (let tile = 0; tile < tiles; tile++) {
    const gather = words.subarray(tile * record + gatherAt / floatBytes).subarray(0, width);
    const out = words.subarray(tile * record + targetAt / floatBytes).subarray(0, width);
    const count = Math.min(width, positions - tile * width);
    for (let j = 0; j < count; j++) {
      gather[j] = image * imageBytes + p * rowBytes + q * floatBytes;
      out[j] = image * target.image + p * target.row + q * target.column;
      if (++q < columns) continue;
      q = 0;
      if (++p < rows) continue;
      p = 0;
      image++;
    }
    // Columns beyond the last are gathered from what follows it; nobody reads their results.
    for (let j = count; j < width; j++) gather[j] = gather[j - 1] + floatBytes;
    const quads = words.subarray(tile * record + quadsAt / floatBytes);
    for (let j = 0; j < width; j += 4) quads[j / 4] = splitOf(gather.subarray(j, j + 4));
    words[tile * record + tileLayout.out / floatBytes] = out[0];
    words[tile * record + tileLayout.direct / floatBytes] = count === width && sideBySide(out) ? 1 : 0;
    words[tile * record + tileLayout.straight / floatBytes] = sideBySide(gather) ? 1 : 0;
  }
  return words;
}

function sideBySide(places: Int32Array): boolean {
  return places.every((place, j) => place === places[0] + j * floatBytes);
}
