/**
 * Photographs as inputs of a network: resized so that the shorter side has a given length, and cut. Shrinking averages
 * over all pixels that an output pixel covers (a triangle filter as wide as the step), growing interpolates: what
 * torchvision's Resize does on photographs.
 */
import type { Photograph } from "./imageFile.ts";

/** An image in floating point: [3, height, width], 0..1. */
export interface FloatImage {
  readonly width: number;
  readonly height: number;
  readonly values: Float32Array;
}

/** For every output position the input positions that it reads, and with which weights. */
interface Taps {
  readonly first: Int32Array;
  readonly weights: readonly Float32Array[];
}

function tapsOf(from: number, to: number): Taps {
  const scale = from / to;
  const reach = Math.max(1, scale);
  const first = new Int32Array(to);
  const weights: Float32Array[] = [];
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale;
    const low = Math.max(0, Math.floor(centre - reach + 0.5));
    const high = Math.min(from, Math.floor(centre + reach + 0.5));
    const own = Float32Array.from({ length: high - low }, (_, tap) =>
      Math.max(0, 1 - Math.abs((low + tap + 0.5 - centre) / reach)),
    );
    const total = own.reduce((sum, weight) => sum + weight, 0);
    first[i] = low;
    weights.push(own.map((weight) => weight / total));
  }
  return { first, weights };
}

/** The photograph with so many columns and rows. */
export function resize({ width, height, pixels }: Photograph, columns: number, rows: number): FloatImage {
  const across = tapsOf(width, columns);
  const down = tapsOf(height, rows);
  // Columns first: one row of the photograph after the other.
  const narrow = new Float32Array(height * columns * 3);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < columns; x++) {
      const weights = across.weights[x];
      let [red, green, blue] = [0, 0, 0];
      for (let tap = 0; tap < weights.length; tap++) {
        const at = (y * width + across.first[x] + tap) * 3;
        const weight = weights[tap];
        red += weight * pixels[at];
        green += weight * pixels[at + 1];
        blue += weight * pixels[at + 2];
      }
      narrow.set([red, green, blue], (y * columns + x) * 3);
    }
  const values = new Float32Array(3 * rows * columns);
  for (let y = 0; y < rows; y++) {
    const weights = down.weights[y];
    for (let x = 0; x < columns; x++)
      for (let colour = 0; colour < 3; colour++) {
        let sum = 0;
        for (let tap = 0; tap < weights.length; tap++)
          sum += weights[tap] * narrow[((down.first[y] + tap) * columns + x) * 3 + colour];
        values[(colour * rows + y) * columns + x] = sum / 255;
      }
  }
  return { width: columns, height: rows, values };
}

/** The photograph with its shorter side of so many pixels, its shape kept. */
export function resizeShorterSide(photograph: Photograph, side: number): FloatImage {
  const { width, height } = photograph;
  const longer = (a: number, b: number) => Math.max(side, Math.floor((side * a) / b));
  return width <= height
    ? resize(photograph, side, longer(height, width))
    : resize(photograph, longer(width, height), side);
}

/** The square of so many pixels from (left, top) on; mirrored left and right if asked for. */
export function cut(
  { width, height, values }: FloatImage,
  left: number,
  top: number,
  side: number,
  mirrored = false,
): FloatImage {
  if (left < 0 || top < 0 || left + side > width || top + side > height)
    throw new RangeError(
      `cut: a square of ${side} at (${left}, ${top}) does not lie within ${width} x ${height}; resize to a larger side`,
    );
  const result = new Float32Array(3 * side * side);
  for (let plane = 0; plane < 3; plane++)
    for (let y = 0; y < side; y++) {
      const from = (plane * height + top + y) * width + left;
      const row = result.subarray((plane * side + y) * side, (plane * side + y + 1) * side);
      row.set(values.subarray(from, from + side));
      if (mirrored) row.reverse();
    }
  return { width: side, height: side, values: result };
}

/** The square in the middle. */
export function centreCrop(image: FloatImage, side: number): FloatImage {
  return cut(image, Math.round((image.width - side) / 2), Math.round((image.height - side) / 2), side);
}

/** Four corners and the middle, then the same mirrored (Krizhevsky et al. 2012). */
export function tenCrop(image: FloatImage, side: number): FloatImage[] {
  const [right, bottom] = [image.width - side, image.height - side];
  const places = [
    [0, 0],
    [right, 0],
    [0, bottom],
    [right, bottom],
    [Math.round(right / 2), Math.round(bottom / 2)],
  ] as const;
  return [false, true].flatMap((mirrored) =>
    places.map(([left, top]) => cut(image, left, top, side, mirrored)),
  );
}
