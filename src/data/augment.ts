/**
 * Random changes of training images. An augmentation works in place on one image [channels, height, width]
 * of values 0..1, before normalisation, and draws from the sample's own generator, so that what it does
 * depends on (seed, epoch, sample) and on nothing else.
 */
import type { Generator } from "../tensor/generator.ts";

export interface AugmentSample {
  /** [channels, height, width], 0..1; changed in place. */
  readonly image: Float32Array;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  /** This sample's random numbers in this epoch. */
  readonly generator: Generator;
  /** Index of the sample in its dataset. */
  readonly index: number;
  readonly epoch: number;
}

export type Augment = (sample: AugmentSample) => void;

/**
 * Applies augmentations one after another. Each gets a generator of its own, so that one of them drawing more
 * numbers does not change the next.
 */
export function compose(...augments: readonly Augment[]): Augment {
  return (sample) => {
    for (const [position, augment] of augments.entries()) {
      augment({ ...sample, generator: sample.generator.fork(position) });
    }
  };
}

/**
 * Moves the image by a whole number of pixels, from -horizontal to horizontal and from -vertical to vertical,
 * each equally likely; `fill` (0, black, unless given) comes in from outside.
 */
export function randomShift(options: {
  readonly horizontal?: number;
  readonly vertical?: number;
  readonly fill?: number;
}): Augment {
  const { horizontal = 0, vertical = 0, fill = 0 } = options;
  checkPixels("randomShift: horizontal", horizontal);
  checkPixels("randomShift: vertical", vertical);
  checkFill("randomShift", fill);
  return (sample) => {
    const [across, down] = [new Int32Array(1), new Int32Array(1)];
    sample.generator.integers(across, -horizontal, horizontal + 1);
    sample.generator.integers(down, -vertical, vertical + 1);
    shift(sample, across[0], down[0], fill);
  };
}

/**
 * Surrounds the image with `padding` pixels of `fill` and cuts an image of the original size out of it at
 * random: the augmentation of CIFAR training, where `padding` is 4.
 */
export function randomCrop(options: { readonly padding: number; readonly fill?: number }): Augment {
  const { padding, fill = 0 } = options;
  checkPixels("randomCrop: padding", padding);
  checkFill("randomCrop", fill);
  return randomShift({ horizontal: padding, vertical: padding, fill });
}

/** Mirrors left and right with the given probability. Not for digits or letters: it makes other characters of them. */
export function randomHorizontalFlip(probability = 0.5): Augment {
  if (!(probability >= 0 && probability <= 1)) {
    throw new RangeError(`randomHorizontalFlip: probability must be from 0 to 1, got ${probability}`);
  }
  return ({ image, width, generator }) => {
    const flip = new Uint8Array(1);
    generator.bernoulli(flip, probability);
    if (flip[0] === 0) return;
    for (let row = 0; row < image.length; row += width) image.subarray(row, row + width).reverse();
  };
}

/** Pixel (y, x) becomes the former (y - down, x - across), `fill` where there was none. */
function shift(sample: AugmentSample, across: number, down: number, fill: number): void {
  const { image, channels, height, width } = sample;
  const source = image.slice();
  image.fill(fill);
  const columns = width - Math.abs(across);
  if (columns <= 0) return;
  for (let plane = 0; plane < channels; plane++) {
    for (let y = Math.max(0, down); y < Math.min(height, height + down); y++) {
      const from = (plane * height + y - down) * width + Math.max(0, -across);
      const to = (plane * height + y) * width + Math.max(0, across);
      image.set(source.subarray(from, from + columns), to);
    }
  }
}

function checkPixels(what: string, pixels: number): void {
  if (!Number.isInteger(pixels) || pixels < 0 || pixels > 2 ** 20) {
    throw new RangeError(`${what} must be a whole number of pixels, 0 or more, got ${pixels}`);
  }
}

function checkFill(what: string, fill: number): void {
  if (!Number.isFinite(fill))
    throw new RangeError(`${what}: fill must be a number (0 black, 1 white), got ${fill}`);
}
