/** Eigenvalues of the small symmetric matrices that the measures reduce to. */
import { type GramMatrix, isFiniteGram } from "./gram.ts";

/** Eigenvalues of a small symmetric matrix by Jacobi rotations (Golub & Van Loan, section 8.5). */
export function symmetricEigenvalues(matrix: GramMatrix): number[] {
  const a = matrix.map((row) => [...row]);
  const n = a.length;
  const scale = Math.max(...a.flat().map(Math.abs), 0);
  // Quadratic convergence: a handful of sweeps reaches rounding; the bound only guards against NaN.
  for (let sweep = 0; sweep < 30; sweep++) {
    let offDiagonal = 0;
    for (let p = 0; p < n; p++)
      for (let q = p + 1; q < n; q++) offDiagonal = Math.max(offDiagonal, Math.abs(a[p][q]));
    if (!(offDiagonal > 1e-15 * scale)) break;
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) rotate(a, p, q);
  }
  return a.map((row, i) => row[i]);
}

/** Makes a[p][q] zero by a rotation of rows and columns p and q. */
function rotate(a: number[][], p: number, q: number): void {
  if (a[p][q] === 0) return;
  const theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
  const t = (theta >= 0 ? 1 : -1) / (Math.abs(theta) + Math.hypot(theta, 1));
  const cosine = 1 / Math.hypot(t, 1);
  const sine = t * cosine;
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[i][p], a[i][q]];
    a[i][p] = cosine * x - sine * y;
    a[i][q] = sine * x + cosine * y;
  }
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[p][i], a[q][i]];
    a[p][i] = cosine * x - sine * y;
    a[q][i] = sine * x + cosine * y;
  }
}

/**
 * Eigenvalues of a Gram matrix, which are the squared singular values σ_r² of the stacked pieces, as shares of their
 * sum. null when all pieces are zero, or one is not finite.
 */
export function energyShares(gram: GramMatrix): number[] | null {
  if (!isFiniteGram(gram)) return null;
  const values = symmetricEigenvalues(gram).map((value) => Math.max(0, value));
  const total = values.reduce((sum, value) => sum + value, 0);
  return total > 0 ? values.map((value) => value / total) : null;
}
