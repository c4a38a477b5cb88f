/** How a window sweeps an axis, taken apart by the phases of its stride so that every tap becomes a plain shift. */
import type { Conv2dAttributes } from "../../../loops/conv2d.ts";

/** One axis: its padded positions are split into `stride` phases of `length` positions each. */
export interface Sweep {
  readonly extent: number;
  readonly before: number;
  readonly stride: number;
  readonly length: number;
  /** Tap t at output position p reads position p + shift of its phase. */
  readonly taps: readonly Tap[];
  /** The largest shift. */
  readonly reach: number;
}

export interface Tap {
  readonly phase: number;
  readonly shift: number;
}

/** A stretch of unpadded positions `first`, `first + stride`, … that lies in one phase from `start` on. */
export interface Stretch {
  readonly first: number;
  readonly start: number;
  readonly count: number;
}

function sweep(
  extent: number,
  before: number,
  after: number,
  stride: number,
  window: number,
  dilation: number,
): Sweep {
  const taps = Array.from({ length: window }, (_, t) => ({
    phase: (t * dilation) % stride,
    shift: Math.floor((t * dilation) / stride),
  }));
  const length = Math.ceil((extent + before + after) / stride);
  return { extent, before, stride, length, taps, reach: taps[window - 1].shift };
}

/** A training step sweeps the same sizes again and again; what is worked out once leaves no garbage later. */
const known = new Map<string, readonly [vertical: Sweep, horizontal: Sweep]>();

/** The vertical and the horizontal sweep of a convolution of `input` `[N, C, H, W]` by `weight` `[K, C, R, S]`. */
export function sweeps(
  input: readonly number[],
  weight: readonly number[],
  { stride, padding, dilation }: Conv2dAttributes,
): readonly [vertical: Sweep, horizontal: Sweep] {
  const key = [input[2], input[3], weight[2], weight[3], ...stride, ...padding, ...dilation].join();
  const before = known.get(key);
  if (before) return before;
  const both = [
    sweep(input[2], padding[0], padding[1], stride[0], weight[2], dilation[0]),
    sweep(input[3], padding[2], padding[3], stride[1], weight[3], dilation[1]),
  ] as const;
  known.set(key, both);
  return both;
}

/** Where the unpadded positions of a phase are: position i of the phase is i · stride + phase − before. */
export function stretchOf({ extent, before, stride, length }: Sweep, phase: number): Stretch {
  const start = Math.max(0, Math.ceil((before - phase) / stride));
  const first = start * stride + phase - before;
  const count = first < extent ? Math.min(length - start, Math.ceil((extent - first) / stride)) : 0;
  return { first, start, count: Math.max(0, count) };
}
