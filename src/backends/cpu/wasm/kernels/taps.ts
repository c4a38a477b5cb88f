/**
 * Resizing of images as sums: which rows and columns an output row or column is made of, and with which weights.
 * Upsampling, adaptive pooling and both gradients differ in nothing else: each is one such list for rows and one for
 * columns, since the weight of a pixel is that of its row times that of its column.
 */

export interface UpsampleAttributes {
  readonly mode: "nearest" | "bilinear";
  /** [P, Q] */
  readonly size: readonly [number, number];
  /** What coordinates are divided by; null for size over input extent. */
  readonly scale: readonly [number, number] | null;
  readonly alignCorners: boolean;
}

export interface Tap {
  readonly at: number;
  readonly weight: number;
}

/** For each output position, what it is made of. */
export type Taps = readonly (readonly Tap[])[];

/** Along an axis of `extent` pixels that becomes `outputs` pixels, with PyTorch's coordinates. */
export function upsampleTaps(
  extent: number,
  outputs: number,
  axis: 0 | 1,
  { mode, scale, alignCorners }: UpsampleAttributes,
): Taps {
  const last = extent - 1;
  const scaled = (position: number): number =>
    scale ? position / scale[axis] : (position * extent) / outputs;
  return Array.from({ length: outputs }, (_, position): readonly Tap[] => {
    if (mode === "nearest") return [{ at: Math.min(Math.floor(scaled(position)), last), weight: 1 }];
    const centre = alignCorners
      ? (position * last) / Math.max(1, outputs - 1)
      : Math.max(0, scaled(position + 0.5) - 0.5);
    const first = Math.min(Math.floor(centre), last);
    const share = centre - first;
    return [
      { at: first, weight: 1 - share },
      { at: Math.min(first + 1, last), weight: share },
    ];
  });
}

/** Sums over windows from floor(i · extent / outputs) to ceil((i + 1) · extent / outputs). */
export function windowTaps(extent: number, outputs: number): Taps {
  return Array.from({ length: outputs }, (_, i) => {
    const start = Math.floor((i * extent) / outputs);
    const end = Math.ceil(((i + 1) * extent) / outputs);
    return Array.from({ length: end - start }, (_, tap) => ({ at: start + tap, weight: 1 }));
  });
}

/** The means of what the list adds up. */
export function averaged(taps: Taps): Taps {
  return taps.map((list) => list.map(({ at, weight }) => ({ at, weight: weight / list.length })));
}

/** The gradient's list: what each of `extent` inputs gives to the outputs, it gets back from them. */
export function transposed(taps: Taps, extent: number): Taps {
  const back = Array.from({ length: extent }, (): Tap[] => []);
  for (const [output, list] of taps.entries())
    for (const { at, weight } of list) back[at].push({ at: output, weight });
  return back;
}
