/** Which input gradients are computed in pairs of columns (phasePairs.ts), and how. */
import type { HostView } from "../../../../backend.ts";
import type { Conv2dAttributes } from "../../../loops/conv2d.ts";
import type { WasmRuntime } from "../../runtime.ts";
import type { GatherSizes, GatherTap } from "./gatherSizes.ts";
import { enoughItems, type ItemCut } from "./items.ts";
import { pairRows } from "./phasePairs.ts";
import { makePlan, type WeightedPlan } from "./plan.ts";
import { floatBytes, writeIntegers } from "./record.ts";
import { bytesOf, sourceStrides } from "./sizes.ts";
import { columnsOf, type TileShape } from "./tile.ts";

/** With more results a group's weights are read too often: 256 to 256 channels on 28 x 28 lose a tenth. */
const mostResults = 128;
/** Gradients and results of an item stay in the second cache. */
const itemBytes = 256 * 1024;

/** Rows of the window, by the row of gradients that they read, that reach even and odd rows of pixels. */
const [evenRows, oddRows] = [
  [{ r: 1, shift: 0 }],
  [
    { r: 2, shift: 0 },
    { r: 0, shift: 1 },
  ],
];
/** Columns of the window in the order of a tile's weights, and how far from the pair the gradients lie. */
const columns = [
  { s: 1, shift: 0 },
  { s: 2, shift: 0 },
  { s: 0, shift: 1 },
];

export interface PhasePairsPlan {
  /** Of even rows and of odd ones. */
  readonly sides: readonly WeightedPlan[];
  readonly scratchBytes: number;
}

const isEach = (values: readonly number[], value: number): boolean => values.every((one) => one === value);

/** The plan, or null for what is not a 3x3 window of stride 2 with a margin of 1 and few channels a group. */
export function planPhasePairs(
  runtime: WasmRuntime,
  shape: TileShape,
  gradient: HostView,
  weight: HostView,
  x: HostView,
  { stride, padding, dilation, groups }: Conv2dAttributes,
): PhasePairsPlan | null {
  const [K, results, R, S] = weight.shape;
  // Of 128-bit vectors V8 11 spills tiles of three results, and of two the gain is lost (47 to 38 GFLOP/s in one group).
  if (shape.vectors < 4) return null;
  const isWindow = R === 3 && S === 3 && isEach(stride, 2) && isEach(padding, 1) && isEach(dilation, 1);
  if (!isWindow || results > mostResults) return null;
  const [images, , P, Q] = gradient.shape;
  const channels = K / groups;
  const pitch = Q + 1;
  // Of a position: even and odd columns of even and of odd rows, of a panel's results.
  const resultBytes = 4 * pairRows * floatBytes;
  const rowBytes = pitch * (resultBytes + floatBytes * channels);
  const most = Math.max(1, Math.floor(itemBytes / rowBytes));
  const blocks = Math.max(Math.ceil(P / most), Math.min(P, Math.ceil(enoughItems / (groups * images))));
  const cut: ItemCut = { imagesPerItem: 1, rowsPerItem: Math.ceil(P / blocks) };
  const axis = (extent: number) => ({
    ...{ extent, stride: 1, before: 0, length: extent + 1, outputs: extent, reach: 1 },
  });
  const [w0, , w2, w3] = bytesOf(weight);
  const sides = [evenRows, oddRows].map((rows) => {
    const taps = rows.flatMap(({ shift: up }) =>
      columns.map(({ shift }): GatherTap => ({ phase: 0, shift: [up, shift] })),
    );
    const sizes: GatherSizes = {
      ...{ images, groups, channels, results, taps, inPlace: false },
      ...{ vertical: axis(P), horizontal: axis(Q) },
      source: sourceStrides(gradient, channels),
      target: { ...sourceStrides(x, results), column: bytesOf(x)[3] },
    };
    const weights = Array.from({ length: channels }, (_, k) =>
      rows.flatMap(({ r }) => columns.map(({ s }) => k * w0 + r * w2 + s * w3)),
    );
    return {
      plan: makePlan(runtime, shape, sizes, undefined, { ...cut, tallestPanel: pairRows }),
      weightTable: writeIntegers(runtime, weights.flat()),
    };
  });
  const [{ plan }] = sides;
  const width = columnsOf(shape);
  const positions = width * Math.ceil((cut.rowsPerItem * pitch) / width);
  return {
    sides,
    // A tile reads one column and one row further than its positions.
    scratchBytes: resultBytes * positions + floatBytes * (width + pitch) + plan.itemImageBytes,
  };
}
