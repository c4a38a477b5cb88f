/** Scratch memory of the convolutions: images with their margins, packed weights, tables of the products' depth. */
import type { HostView } from "../../../backend.ts";
import { addressOf, type WasmRuntime } from "../runtime.ts";
import type { PlaneKernels } from "./planes.ts";
import { tileRows } from "./product.ts";
import { type Sweep, stretchOf, type Tap } from "./sweep.ts";

export const floatBytes = 4;

/** Every tap of a window. */
export interface TapPair {
  readonly vertical: Tap;
  readonly horizontal: Tap;
  /** Row and column in the window. */
  readonly r: number;
  readonly s: number;
}

/** The depth of a product, entry by entry. */
export interface Depth {
  readonly depth: number;
  /** Address of the table that says where each row of the right operand begins, in bytes. */
  readonly offsets: number;
  /** Where the weight that meets row k lies relative to its row of weights, in elements. */
  readonly weights: Int32Array;
}

/** An image in scratch memory, `[channels][phases][rows][rowBytes]`. */
export interface ScratchImage {
  readonly address: number;
  readonly rowBytes: number;
  /** From one phase to the next, and from one channel to the next. */
  readonly phaseBytes: number;
  readonly channelBytes: number;
}

const knownTaps = new WeakMap<Sweep, { readonly horizontal: Sweep; readonly taps: readonly TapPair[] }>();

/** The taps of a window in row-major order. */
export function tapsOf(vertical: Sweep, horizontal: Sweep): readonly TapPair[] {
  const known = knownTaps.get(vertical);
  if (known?.horizontal === horizontal) return known.taps;
  const taps = vertical.taps.flatMap((up, r) =>
    horizontal.taps.map((across, s) => ({ vertical: up, horizontal: across, r, s })),
  );
  knownTaps.set(vertical, { horizontal, taps });
  return taps;
}

/** Pixels of a channel follow each other without a gap. */
export function isDense({ shape, strides }: HostView): boolean {
  return strides[3] === 1 && (shape[2] === 1 || strides[2] === shape[3]);
}

/** Address of a channel of an image. */
export function imageAt(view: HostView, n: number, channel: number): number {
  return addressOf(view) + floatBytes * (n * view.strides[0] + channel * view.strides[1]);
}

export class ConvWorkspace {
  readonly #runtime: WasmRuntime;
  readonly #planes: PlaneKernels;

  constructor(runtime: WasmRuntime, planes: PlaneKernels) {
    this.#runtime = runtime;
    this.#planes = planes;
  }

  /** Address of scratch memory for so many floats, not cleared. */
  floats(name: string, count: number): number {
    return this.#runtime.scratch(`conv2d ${name}`, floatBytes * count);
  }

  /** Address of scratch memory for so many floats, zeroed. */
  zeroedFloats(name: string, count: number): number {
    const address = this.floats(name, count);
    this.#planes.clear(address, floatBytes * count);
    return address;
  }

  view(address: number, length: number): Float32Array {
    return new Float32Array(this.#runtime.memory.memory.buffer, address, length);
  }

  /** Writes the depth of a product over `channels` and `taps`: where its rows begin and where its weights lie. */
  writeDepth(
    channels: number,
    taps: readonly TapPair[],
    rowAt: (channel: number, tap: TapPair) => number,
    weightAt: (channel: number, tap: TapPair) => number = () => 0,
  ): Depth {
    const depth = channels * taps.length;
    const offsets = this.floats("offsets", depth);
    const rows = new Int32Array(this.#runtime.memory.memory.buffer, offsets, depth);
    const weights = new Int32Array(depth);
    let k = 0;
    for (let c = 0; c < channels; c++)
      for (const tap of taps) {
        rows[k] = floatBytes * rowAt(c, tap);
        weights[k++] = weightAt(c, tap);
      }
    return { depth, offsets, weights };
  }

  /**
   * Packs weights into panels of tileRows rows, each `[depth][rows of the panel]`. Row i begins at element
   * `start + i · rowStride` of the weight.
   */
  packPanels(
    rows: number,
    { depth, weights }: Depth,
    { data, offset }: HostView,
    start: number,
    rowStride: number,
  ): number {
    const address = this.floats("panels", rows * depth);
    const panels = this.view(address, rows * depth);
    let at = 0;
    for (let first = 0; first < rows; first += tileRows) {
      const height = Math.min(tileRows, rows - first);
      const base = offset + start + first * rowStride;
      for (let k = 0; k < depth; k++)
        for (let r = 0; r < height; r++) panels[at++] = data[base + r * rowStride + weights[k]];
    }
    return address;
  }

  /** Copies channels of an image into scratch memory, every phase of the strides to its own place. */
  split(
    view: HostView,
    image: number,
    channels: number,
    sweeps: readonly [Sweep, Sweep],
    to: ScratchImage,
  ): void {
    const [vertical, horizontal] = sweeps;
    for (let a = 0; a < vertical.stride; a++)
      for (let b = 0; b < horizontal.stride; b++) {
        const phase = { ...to, address: to.address + (a * horizontal.stride + b) * to.phaseBytes };
        this.#movePhase("in", view, image, channels, sweeps, [a, b], phase);
      }
  }

  /** Copies one phase of an image from scratch memory to its pixels. */
  join(
    view: HostView,
    image: number,
    channels: number,
    sweeps: readonly [Sweep, Sweep],
    phase: readonly [number, number],
    from: ScratchImage,
  ): void {
    this.#movePhase("out", view, image, channels, sweeps, phase, from);
  }

  #movePhase(
    direction: "in" | "out",
    view: HostView,
    image: number,
    channels: number,
    [vertical, horizontal]: readonly [Sweep, Sweep],
    [a, b]: readonly [number, number],
    { address, rowBytes, channelBytes }: ScratchImage,
  ): void {
    const [, plane, row, step] = view.strides.map((stride) => floatBytes * stride);
    const [up, across] = [stretchOf(vertical, a), stretchOf(horizontal, b)];
    const pixels = [
      image + up.first * row + across.first * step,
      plane,
      row * vertical.stride,
      step * horizontal.stride,
    ];
    const scratch = [
      address + up.start * rowBytes + across.start * floatBytes,
      channelBytes,
      rowBytes,
      floatBytes,
    ];
    const ends = direction === "in" ? [...pixels, ...scratch] : [...scratch, ...pixels];
    this.#planes.copyPlanes(...ends, channels, up.count, across.count);
  }
}
