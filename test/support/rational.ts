/** Sums of products of f32 without any rounding, by integers, for tests of exact sums. */
import fc from "fast-check";

/** Numbers of up to 24 digits whose products lie between 2^-8 and 2^56: 70 digits hold every sum of some. */
const factor = fc
  .record({
    digits: fc.integer({ min: -(2 ** 24) + 1, max: 2 ** 24 - 1 }),
    exponent: fc.integer({ min: -4, max: 4 }),
  })
  .map(({ digits, exponent }) => digits * 2 ** exponent);

interface Factors {
  readonly a: Float32Array;
  readonly b: Float32Array;
}

const factorsOf = (terms: readonly (readonly [number, number])[]): Factors => ({
  a: Float32Array.from(terms, ([a]) => a),
  b: Float32Array.from(terms, ([, b]) => b),
});

/** Sums of up to 80 products, some of which cancel altogether. */
const anyDots = fc
  .record({
    terms: fc.array(fc.tuple(factor, factor), { minLength: 1, maxLength: 40 }),
    cancels: fc.boolean(),
  })
  .map(({ terms, cancels }) =>
    factorsOf(cancels ? [...terms, ...terms.map(([a, b]) => [-a, b] as const), [1, 2 ** -4]] : terms),
  );

/** Sums half way between two f32 but for one term, which may be 0 or too small for f64 to tell beside the others. */
const ties = fc
  .record({
    whole: fc.integer({ min: 2 ** 23, max: 2 ** 24 - 1 }),
    isNegative: fc.boolean(),
    side: fc.constantFrom(-1, 0, 1),
    exponent: fc.integer({ min: -20, max: -1 }),
    turns: fc.nat(2),
  })
  .map(({ whole, isNegative, side, exponent, turns }) => {
    const sign = isNegative ? -1 : 1;
    const terms: [number, number][] = [
      [sign * whole, 2],
      [sign, 1],
      [side * 2 ** exponent, 2 ** exponent],
    ];
    return factorsOf([...terms.slice(turns), ...terms.slice(0, turns)]);
  });

/** Factors of sums of products: any, sums that cancel but for their last digits, and ties, some of them nearly. */
export const dots = fc.oneof(anyDots, ties);

/** Every product of two f32 is a whole number of these: 2^-298. */
const unit = 298;

/** A finite f32 as a whole number of 2^-149. */
function whole(x: number): bigint {
  if (x === 0) return 0n;
  const exponent = Math.max(-149, Math.floor(Math.log2(Math.abs(x))) - 24);
  // x / 2^exponent has at most 26 bits before the point and none behind; in two steps, since 2^149 overflows nothing.
  return BigInt(x * 2 ** -exponent) << BigInt(exponent + 149);
}

/** `numerator · 2^-298` rounded to f32, to the even one of two as near; normal numbers only. */
function nearest(numerator: bigint): number {
  if (numerator === 0n) return 0;
  const isNegative = numerator < 0n;
  const size = isNegative ? -numerator : numerator;
  const extra = BigInt(size.toString(2).length - 24);
  let digits = size;
  let exponent = -unit;
  if (extra > 0n) {
    const half = 1n << (extra - 1n);
    const rest = size & ((1n << extra) - 1n);
    digits = size >> extra;
    if (rest > half || (rest === half && (digits & 1n) === 1n)) digits += 1n;
    exponent += Number(extra);
  }
  // Two factors, neither of which underflows.
  const value = Number(digits) * 2 ** Math.ceil(exponent / 2) * 2 ** Math.floor(exponent / 2);
  return isNegative ? -value : value;
}

/** Σ a[k] · b[k], rounded once to f32. The result must be 0 or normal. */
export function exactDot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0n;
  for (let k = 0; k < a.length; k++) sum += whole(a[k]) * whole(b[k]);
  return nearest(sum);
}

/** How many f32 steps `found` is from `truth`. */
export function ulpsBetween(found: number, truth: number): number {
  const size = Math.max(Math.abs(truth), 2 ** -126);
  return Math.abs(found - truth) / 2 ** (Math.floor(Math.log2(size)) - 23);
}
