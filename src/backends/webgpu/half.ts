/**
 * Half precision on the host, which has no such arrays before Node 24: IEEE 754 binary16, one sign bit, five of the
 * exponent, ten of the fraction. Device memory that is stored so is read and written in these bits.
 */

/** Relative error of rounding a number to half precision: half a unit in the last of 11 binary places. */
export const halfRounding = 2 ** -11;

/** The largest finite number; larger ones, beyond rounding, become infinity. */
export const largestHalf = 65504;

const word = new Float32Array(1);
const bitsOfWord = new Uint32Array(word.buffer);

/** The bits of the nearest number of half precision, the even one of two as near. */
function halfBits(value: number): number {
  word[0] = value;
  const [bits] = bitsOfWord;
  const sign = (bits >>> 16) & 0x8000;
  const size = bits & 0x7fffffff;
  if (size > 0x7f800000) return sign | 0x7e00;
  // Half way from the largest number to what would be the next.
  if (size >= 0x477ff000) return sign | 0x7c00;
  const smallestNormal = 0x38800000;
  if (size < smallestNormal) {
    // Steps of 2^-24. Adding 2^23 of them leaves a float no room for a fraction: it is rounded as f32 rounds.
    const stepsBelow = Math.fround(Math.abs(word[0]) * 2 ** 24 + 2 ** 23) - 2 ** 23;
    return sign | stepsBelow;
  }
  const rounded = size + 0xfff + ((size >> 13) & 1);
  return sign | ((rounded - 0x38000000) >> 13);
}

/** Numbers as bits of half precision, rounded to f32 first as the host's arrays would. */
export function toHalf(values: ArrayLike<number>): Uint16Array<ArrayBuffer> {
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < halves.length; i++) halves[i] = halfBits(values[i]);
  return halves;
}

function halfValue(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const size =
    exponent === 31
      ? fraction === 0
        ? Number.POSITIVE_INFINITY
        : Number.NaN
      : exponent === 0
        ? fraction * 2 ** -24
        : (1024 + fraction) * 2 ** (exponent - 25);
  return bits & 0x8000 ? -size : size;
}

/** Bits of half precision as numbers, all of which f32 holds exactly. */
export function fromHalf(halves: Uint16Array): Float32Array<ArrayBuffer> {
  const values = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) values[i] = halfValue(halves[i]);
  return values;
}
