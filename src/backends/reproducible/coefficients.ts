/**
 * The numbers of exp, log and tanh in reproducible mode, which every backend computes in the same single roundings. The
 * polynomials are those of Stephen Moshier's Cephes library (single/expf.c, logf.c, tanhf.c,
 * https://www.netlib.org/cephes). Errors are about those of the ordinary kernels: 1e-7 relative, and what `pow` is made
 * of them beyond whole exponents up to 64, 1e-7 times its logarithm.
 */

/** (exp(r) − 1 − r) / r² for |r| <= ln 2 / 2, the highest power first. */
export const expCoefficients = [
  1.98756915e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1,
] as const;

/** (log(1 + x) − x + x² / 2) / x³ for √½ <= 1 + x < √2. */
export const logCoefficients = [
  7.0376836292e-2, -1.151461031e-1, 1.167699874e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
  2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
] as const;

/** (tanh(x) / x − 1) / x² as a function of x² for |x| <= 0.625. */
export const tanhCoefficients = [
  -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1,
] as const;

/** ln((1 + s) / (1 − s)) / 2s − 1, divided by s², as a function of s². */
export const ratioCoefficients = [1 / 13, 1 / 11, 1 / 9, 1 / 7, 1 / 5, 1 / 3] as const;

/** ln 2 in two parts; whole numbers below 2^15 times the first are exact. */
export const ln2High = 0.693359375;
export const ln2Low = -2.1219444e-4;

/** Beyond these exp is infinite, or below 2^-126 and so 0. */
export const expLimits = { low: -87.33654, high: 88.72283 } as const;

/** Adding and subtracting it rounds to the nearest whole number. */
export const rounder = 1.5 * 2 ** 23;

/** The bits of √½, and of 1. */
export const rootBits = 0x3f3504f3;
export const oneBits = 0x3f800000;

/** The smallest number that is not rounded to 0. */
export const smallest = 2 ** -126;

/** Whole exponents up to this one are multiplied out. */
export const largestWholeExponent = 64;
