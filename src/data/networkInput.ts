/** From an image to the numbers that a network reads: as many channels as it has, normalised. */
import type { FloatImage } from "./crops.ts";

export interface NetworkInputOptions {
  /** 3 colours, else their mean as often as needed. Default 3. */
  readonly channels?: number;
  /** One number for each channel; images become (value - mean) / std. Default 0. */
  readonly mean?: readonly number[];
  /** One number for each channel. Default 1. */
  readonly std?: readonly number[];
}

/** `[channels, height, width]` of an image of three colours. Throws a RangeError where mean or std do not fit. */
export function networkInput(image: FloatImage, options: NetworkInputOptions = {}): Float32Array {
  const { channels = 3 } = options;
  const { mean = Array(channels).fill(0), std = Array(channels).fill(1) } = options;
  for (const [name, { length }] of Object.entries({ mean, std }))
    if (length !== channels)
      throw new RangeError(
        `networkInput: ${name} has ${length} numbers, the network has ${channels} channels`,
      );
  const values = channels === 3 ? image.values.slice() : repeatedGrey(image, channels);
  normalise(values, mean, std);
  return values;
}

function repeatedGrey({ values, width, height }: FloatImage, channels: number): Float32Array {
  const plane = width * height;
  const grey = new Float32Array(channels * plane);
  for (let i = 0; i < plane; i++) grey[i] = (values[i] + values[plane + i] + values[2 * plane + i]) / 3;
  for (let channel = 1; channel < channels; channel++) grey.copyWithin(channel * plane, 0, plane);
  return grey;
}

/** (value - mean) / std by channel, in place, for `[channels, height, width]`. */
export function normalise(values: Float32Array, mean: readonly number[], std: readonly number[]): void {
  const plane = values.length / mean.length;
  for (let channel = 0; channel < mean.length; channel++)
    for (let i = channel * plane; i < (channel + 1) * plane; i++)
      values[i] = (values[i] - mean[channel]) / std[channel];
}
