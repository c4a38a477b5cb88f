/** Neighbours among the floating-point numbers: half-open ranges need them, because rounding can reach the open end. */

const single = new Float32Array(1);
const singleBits = new Int32Array(single.buffer);
const double = new Float64Array(1);
const doubleBits = new BigInt64Array(double.buffer);

/** The largest f32 (if `inF32`) or f64 strictly below `limit`. */
export function largestBelow(limit: number, inF32: boolean): number {
  const nearest = inF32 ? Math.fround(limit) : limit;
  if (nearest < limit) return nearest;
  // Read as integers, floats of one sign are ordered; below zero the order is reversed.
  if (inF32) {
    if (nearest === 0) return -(2 ** -149);
    single[0] = nearest;
    singleBits[0] += nearest > 0 ? -1 : 1;
    return single[0];
  }
  if (nearest === 0) return -Number.MIN_VALUE;
  double[0] = nearest;
  doubleBits[0] += nearest > 0 ? -1n : 1n;
  return double[0];
}

/** The smallest f32 (if `inF32`) or f64 that is at least `limit`. */
export function smallestAtLeast(limit: number, inF32: boolean): number {
  const nearest = inF32 ? Math.fround(limit) : limit;
  return nearest >= limit ? nearest : -largestBelow(-nearest, inF32);
}
