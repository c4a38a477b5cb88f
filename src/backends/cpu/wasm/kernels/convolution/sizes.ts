/** The sizes of the gathered products that a convolution and its gradients are. Letters as in index.ts. */
import type { HostView } from "../../../../backend.ts";
import type { Conv2dAttributes } from "../../../loops/conv2d.ts";
import type { GatherSizes, GatherTap } from "./gatherSizes.ts";
import { floatBytes } from "./record.ts";
import { type Sweep, stretchOf, sweeps, type Tap } from "./sweep.ts";

/** A tap of the window, and its row and column in it. */
interface WindowTap {
  readonly up: Tap;
  readonly across: Tap;
  readonly r: number;
  readonly s: number;
}

/** A gathered product, and where the weights of its steps lie in a row of weights. */
export interface WeightedProduct {
  readonly sizes: GatherSizes;
  /** Bytes from the first pixel of the target to the first one that this product writes. */
  readonly first: number;
  readonly weightTable: readonly number[];
}

export const bytesOf = ({ strides }: HostView): number[] => strides.map((stride) => floatBytes * stride);

/** Pixels of a channel follow each other without a gap. */
export function isDense({ shape, strides }: HostView): boolean {
  return strides[3] === 1 && (shape[2] === 1 || strides[2] === shape[3]);
}

/** A 1x1 window without margin or stride on dense planes: nothing needs to be copied. */
function readsInPlace(x: HostView, [, , R, S]: readonly number[], a: Conv2dAttributes): boolean {
  const plain = a.stride.every((n) => n === 1) && a.padding.every((margin) => margin === 0);
  return R === 1 && S === 1 && plain && isDense(x);
}

function windowTaps(vertical: Sweep, horizontal: Sweep): WindowTap[] {
  return vertical.taps.flatMap((up, r) => horizontal.taps.map((across, s) => ({ up, across, r, s })));
}

/** Where the weights of every step lie, channel by channel of the gathered image. */
function weightTable(
  channels: number,
  taps: readonly WindowTap[],
  [channel, row, column]: readonly [number, number, number],
): number[] {
  return Array.from({ length: channels }, (_, c) =>
    taps.map(({ r, s }) => c * channel + r * row + s * column),
  ).flat();
}

/** Bytes from one image, channel, row and group of channels to the next. */
export function sourceStrides(view: HostView, channelsPerGroup: number) {
  const [image, channel, row] = bytesOf(view);
  return { image, channel, row, group: channelsPerGroup * channel };
}

/** `[N, C, H, W]` by `[K, C / groups, R, S]` to `[N, K, P, Q]`. */
export function forwardProduct(
  x: HostView,
  weight: HostView,
  y: HostView,
  attributes: Conv2dAttributes,
): WeightedProduct {
  const { groups, padding } = attributes;
  const [K, perGroup] = weight.shape;
  const [vertical, horizontal] = sweeps(x.shape, weight.shape, attributes);
  const taps = windowTaps(vertical, horizontal);
  const [, w1, w2, w3] = bytesOf(weight);
  const results = K / groups;
  const axis = ({ extent, stride, length, reach }: Sweep, before: number, outputs: number) => ({
    ...{ extent, stride, before, outputs, reach },
    length: Math.min(length, outputs + reach),
  });
  return {
    sizes: {
      images: x.shape[0],
      ...{ groups, channels: perGroup, results },
      vertical: axis(vertical, padding[0], y.shape[2]),
      horizontal: axis(horizontal, padding[2], y.shape[3]),
      taps: taps.map(
        ({ up, across }): GatherTap => ({
          phase: up.phase * horizontal.stride + across.phase,
          shift: [up.shift, across.shift],
        }),
      ),
      inPlace: readsInPlace(x, weight.shape, attributes),
      source: sourceStrides(x, perGroup),
      target: { ...sourceStrides(y, results), column: bytesOf(y)[3] },
    },
    first: 0,
    weightTable: weightTable(perGroup, taps, [w1, w2, w3]),
  };
}

/**
 * The input gradient, phase by phase of the stride: position i of a phase was read by a tap at output position
 * i − shift, so the output gradient is gathered with a margin as wide as the largest shift. Phases that no tap reads
 * are left out.
 */
export function inputGradientProducts(
  gradient: HostView,
  weight: HostView,
  x: HostView,
  attributes: Conv2dAttributes,
): WeightedProduct[] {
  const { groups } = attributes;
  const [K, perGroup] = weight.shape;
  const groupRows = K / groups;
  const [vertical, horizontal] = sweeps(x.shape, weight.shape, attributes);
  const [w0, , w2, w3] = bytesOf(weight);
  const target = sourceStrides(x, perGroup);
  const products: WeightedProduct[] = [];
  for (let a = 0; a < vertical.stride; a++)
    for (let b = 0; b < horizontal.stride; b++) {
      const taps = windowTaps(vertical, horizontal).filter(
        ({ up, across }) => up.phase === a && across.phase === b,
      );
      const [rows, columns] = [stretchOf(vertical, a), stretchOf(horizontal, b)];
      if (taps.length === 0 || rows.count === 0 || columns.count === 0) continue;
      const axis = (
        { reach }: Sweep,
        extent: number,
        { start, count }: { start: number; count: number },
      ) => ({
        ...{ extent, reach },
        stride: 1,
        before: reach - start,
        length: count + reach,
        outputs: count,
      });
      products.push({
        sizes: {
          images: x.shape[0],
          ...{ groups, channels: groupRows, results: perGroup },
          vertical: axis(vertical, gradient.shape[2], rows),
          horizontal: axis(horizontal, gradient.shape[3], columns),
          taps: taps.map(
            ({ up, across }): GatherTap => ({
              phase: 0,
              shift: [vertical.reach - up.shift, horizontal.reach - across.shift],
            }),
          ),
          inPlace: readsInPlace(gradient, weight.shape, attributes),
          source: sourceStrides(gradient, groupRows),
          target: {
            ...target,
            row: target.row * vertical.stride,
            column: floatBytes * horizontal.stride,
          },
        },
        first: rows.first * target.row + columns.first * floatBytes,
        weightTable: weightTable(groupRows, taps, [w0, w2, w3]),
      });
    }
  return products;
}
