/**
 * Measures on gradient pieces. Let v_1 … v_n be the pieces that n consumers send to one feature map, as vectors over
 * the batch. All measures here need only their Gram matrix G with G_ab = v_a · v_b, which a backend can reduce where
 * the pieces lie.
 */

/** Symmetric, positive semidefinite up to rounding. */
export type GramMatrix = readonly (readonly number[])[];

/** |v_a|, one per piece. Range [0, ∞). */
export function norms(gram: GramMatrix): number[] {
  return gram.map((row, a) => Math.sqrt(Math.max(0, row[a])));
}

/**
 * cos(v_a, v_b), n x n. Range [-1, 1]; invariant under scaling of any piece and under orthogonal maps. Its smallest
 * entry is the gradient confusion of Sankararaman et al. 2020. null where a piece is zero: it has no direction.
 */
export function cosineSimilarity(gram: GramMatrix): (number | null)[][] {
  const lengths = norms(gram);
  return gram.map((row, a) =>
    row.map((dot, b) => {
      if (lengths[a] === 0 || lengths[b] === 0) return null;
      return a === b ? 1 : Math.max(-1, Math.min(1, dot / (lengths[a] * lengths[b])));
    }),
  );
}

/**
 * |Σ v_i|² / (n Σ |v_i|²). Range [0, 1]: 1 for identical pieces, 1/n for orthogonal ones, 0 when they cancel. The
 * inverse of gradient diversity (Yin et al. 2018) over n. Invariant under a common scale and orthogonal maps.
 * null when all pieces are zero.
 */
export function sharedEnergy(gram: GramMatrix): number | null {
  const all = gram.flat().reduce((sum, dot) => sum + dot, 0);
  const own = gram.reduce((sum, row, a) => sum + row[a], 0);
  return own > 0 ? Math.max(0, all) / (gram.length * own) : null;
}

/**
 * σ₁² / Σ σ_r², the share of energy along the pieces' first principal direction (not centred). Range [1/n, 1];
 * invariant under a common scale and orthogonal maps. null when all pieces are zero.
 */
export function firstDirectionShare(gram: GramMatrix): number | null {
  const spectrum = energies(gram);
  return spectrum && Math.max(...spectrum);
}

/**
 * exp of the entropy of σ_r² / Σ σ² (Roy & Vetterli 2007, with squared singular values). Range [1, n]: how many
 * directions the pieces span. Invariant under a common scale and orthogonal maps. null when all pieces are zero.
 */
export function effectiveRank(gram: GramMatrix): number | null {
  const spectrum = energies(gram);
  if (!spectrum) return null;
  return Math.exp(-spectrum.reduce((sum, share) => sum + (share > 0 ? share * Math.log(share) : 0), 0));
}

/** Eigenvalues of the Gram matrix, which are σ_r², as shares of their sum. */
function energies(gram: GramMatrix): number[] | null {
  const values = symmetricEigenvalues(gram).map((value) => Math.max(0, value));
  const total = values.reduce((sum, value) => sum + value, 0);
  return total > 0 ? values.map((value) => value / total) : null;
}

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
 * Pearson correlation of two equally long lists. Range [-1, 1]; invariant under scale and shift of either. null when
 * one of them is constant.
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
