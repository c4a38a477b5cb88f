/** Student's t: how far the mean of few values may lie from the truth. */

/** The 97.5 % quantiles for 1 to 30 degrees of freedom. */
const quantiles = [
  12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139,
  2.200985, 2.178813, 2.160369, 2.144787, 2.13145, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963, 2.079614,
  2.073873, 2.068658, 2.063899, 2.059539, 2.055529, 2.051831, 2.048407, 2.04523, 2.042272,
];

/**
 * The 97.5 % quantile of Student's t, half the width of a 95 % interval in standard errors. Beyond 30 degrees of freedom
 * by the expansion around the normal quantile (Abramowitz & Stegun 26.7.5), exact to 1e-5. Throws unless `degrees` is a
 * positive integer.
 */
export function studentT95(degrees: number): number {
  if (!Number.isInteger(degrees) || degrees < 1)
    throw new Error(`studentT95: ${degrees} degrees of freedom must be a positive integer`);
  const known = quantiles[degrees - 1];
  if (known !== undefined) return known;
  const z = 1.959963985;
  const first = (z ** 3 + z) / 4;
  const second = (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96;
  const third = (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384;
  return z + first / degrees + second / degrees ** 2 + third / degrees ** 3;
}
