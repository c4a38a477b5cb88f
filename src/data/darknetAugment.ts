/**
 * The training images of the CSPNet paper: Darknet's random view of a photograph, turned, stretched, enlarged, shifted
 * and mirrored, then with another hue, saturation and exposure (its `random_augment_args`, `rotate_crop_image` and
 * `distort_image`).
 */
import type { Generator } from "../tensor/generator.ts";
import type { FloatImage } from "./crops.ts";
import type { Photograph } from "./imageFile.ts";

export interface DarknetAugmentation {
  /** Largest turn to either side, in degrees. The paper's 7. */
  readonly angle: number;
  /** Stretch from this to its inverse. The paper's 0.75. */
  readonly aspect: number;
  /** The shorter side becomes between `low` and `high` pixels long. The paper's 128 and 448. */
  readonly low: number;
  readonly high: number;
  /** Largest turn of the hue, of 1. The paper's 0.1. */
  readonly hue: number;
  /** Saturation and brightness times from the inverse of this to it. The paper's 0.75 stands for 1 / 0.75. */
  readonly saturation: number;
  readonly exposure: number;
}

/** `angle=7 hue=.1 saturation=.75 exposure=.75 aspect=.75 min_crop=128 max_crop=448`. */
export const paperAugmentation: DarknetAugmentation = {
  angle: 7,
  aspect: 0.75,
  low: 128,
  high: 448,
  hue: 0.1,
  saturation: 0.75,
  exposure: 0.75,
};

/** Numbers from 0 to 1 in the order in which they are asked for. */
function uniform(generator: Generator): (low: number, high: number) => number {
  const values = new Float64Array(16);
  generator.uniform(values);
  let next = 0;
  return (low, high) => low + (high - low) * values[next++];
}

/** A random view of `side` x `side` pixels. The same generator gives the same view. */
export function darknetView(
  photograph: Photograph,
  side: number,
  augmentation: DarknetAugmentation,
  generator: Generator,
): FloatImage {
  const draw = uniform(generator);
  const scaled = (largest: number): number => {
    const factor = draw(1, largest);
    return draw(0, 1) < 0.5 ? factor : 1 / factor;
  };
  const { width, height, pixels } = photograph;
  const aspect = scaled(augmentation.aspect);
  const length = Math.floor(draw(augmentation.low, augmentation.high + 1));
  const scale = length / Math.min(height, width * aspect);
  const angle = (draw(-augmentation.angle, augmentation.angle) * Math.PI) / 180;
  const [spareX, spareY] = [
    Math.max(0, ((width * scale) / aspect - side) / 2),
    Math.max(0, (height * scale - side) / 2),
  ];
  const [shiftX, shiftY] = [draw(-spareX, spareX), draw(-spareY, spareY)];
  const mirrored = draw(0, 1) < 0.5;
  const hue = draw(-augmentation.hue, augmentation.hue);
  const [saturation, exposure] = [scaled(augmentation.saturation), scaled(augmentation.exposure)];

  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const values = new Float32Array(3 * side * side);
  const plane = side * side;
  const colour = new Float64Array(3);
  for (let y = 0; y < side; y++)
    for (let x = 0; x < side; x++) {
      const across = ((x - side / 2 + shiftX) / scale) * aspect;
      const down = (y - side / 2 + shiftY) / scale;
      sample(
        photograph,
        pixels,
        cos * across - sin * down + width / 2,
        sin * across + cos * down + height / 2,
        colour,
      );
      distort(colour, hue, saturation, exposure);
      const at = y * side + (mirrored ? side - 1 - x : x);
      for (let c = 0; c < 3; c++) values[c * plane + at] = colour[c];
    }
  return { width: side, height: side, values };
}

/** The colour between four pixels, 0..1; black outside. */
function sample(
  { width, height }: Photograph,
  pixels: Uint8Array,
  x: number,
  y: number,
  colour: Float64Array,
): void {
  const [left, top] = [Math.floor(x), Math.floor(y)];
  const [right, low] = [x - left, y - top];
  colour.fill(0);
  for (let dy = 0; dy < 2; dy++)
    for (let dx = 0; dx < 2; dx++) {
      const [column, row] = [left + dx, top + dy];
      if (column < 0 || row < 0 || column >= width || row >= height) continue;
      const weight = (dx ? right : 1 - right) * (dy ? low : 1 - low);
      const at = (row * width + column) * 3;
      for (let c = 0; c < 3; c++) colour[c] += (weight * pixels[at + c]) / 255;
    }
}

/** Another hue, saturation and brightness, through the cone of hue, saturation and value. */
export function distort(colour: Float64Array, turn: number, saturation: number, exposure: number): void {
  const [red, green, blue] = colour;
  const value = Math.max(red, green, blue);
  const range = value - Math.min(red, green, blue);
  if (value === 0) return;
  let hue = 0;
  if (range > 0) {
    if (value === red) hue = (green - blue) / range;
    else if (value === green) hue = 2 + (blue - red) / range;
    else hue = 4 + (red - green) / range;
  }
  hue = (hue / 6 + turn + 2) % 1;
  const strength = Math.min(1, (range / value) * saturation);
  const bright = Math.min(1, value * exposure);
  for (let c = 0; c < 3; c++) {
    // Red, green and blue lie a third of the circle apart.
    const distance = Math.abs(((((hue * 6 - [0, 2, 4][c] + 9) % 6) + 6) % 6) - 3);
    colour[c] = bright * (1 - strength * Math.min(1, Math.max(0, distance - 1)));
  }
}
