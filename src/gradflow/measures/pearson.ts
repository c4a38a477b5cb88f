/** Linear correlation of two lists: between the gradients of a stage's two sides. */
import type { GramMatrix } from "./gram.ts";

/**
 * Pearson correlation of two equally long lists. Range [-1, 1]; invariant under scale and shift of either. null when
 * one of them is constant or holds a number that is not finite. Pearson 1895.
 */
export function pearsonCorrelation(x: ArrayLike<number>, y: ArrayLike<number>): number | null {
  if (x.length !== y.length)
    throw new Error(`pearsonCorrelation: lists of ${x.length} and ${y.length} values cannot be paired`);
  // Compared with each other: the mean of equal numbers may differ from them by rounding.
  const isConstant = (values: ArrayLike<number>) => Array.from(values).every((v) => v === values[0]);
  if (isConstant(x) || isConstant(y)) return null;
  const mean = (values: ArrayLike<number>) =>
    Array.from(values).reduce((sum, v) => sum + v, 0) / values.length;
  const [meanX, meanY] = [mean(x), mean(y)];
  let [xx, xy, yy] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    const [dx, dy] = [x[i] - meanX, y[i] - meanY];
    xx += dx * dx;
    xy += dx * dy;
    yy += dy * dy;
  }
  return xx > 0 && yy > 0 ? Math.max(-1, Math.min(1, xy / Math.sqrt(xx * yy))) : null;
}

/**
 * Pearson correlation from the Gram matrix of four vectors: x, y, and both after their mean was subtracted, as a backend
 * reduces them. `epsilon` is the rounding of the numbers' dtype: what is left of a constant by rounding its mean does not
 * count as variation. Range, invariances and null as for `pearsonCorrelation`.
 */
export function pearsonFromGram(gram: GramMatrix, epsilon: number): number | null {
  const [x, y, [, , xx, xy], [, , , yy]] = gram;
  const varies = (centred: number, raw: number): boolean => centred > 16 * epsilon * epsilon * raw;
  if (!varies(xx, x[0]) || !varies(yy, y[1]) || !Number.isFinite(xy)) return null;
  return Math.max(-1, Math.min(1, xy / Math.sqrt(xx * yy)));
}
