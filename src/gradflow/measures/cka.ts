/**
 * Centred kernel alignment (Kornblith et al. 2019): whether two sets of vectors, one pair per example, have the same
 * geometry, whatever basis and however many dimensions each is written in. With X [n, p] and Y [n, q], rows the examples:
 *
 *     CKA = |YᵀX|²_F / (|XᵀX|_F |YᵀY|_F)      for centred X, Y
 *
 * which needs only K = XXᵀ and L = YYᵀ, n x n.
 */
import { mul, reshape, stack, sub, sum } from "../../autograd/index.ts";
import { eye } from "../../tensor/create.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { type GramMatrix, gramOfRows, isFiniteGram } from "./gram.ts";

/** Fewest examples for which the unbiased estimate exists. */
export const fewestCkaExamples = 4;

function checkKernels(name: string, k: GramMatrix, l: GramMatrix): void {
  if (k.length !== l.length)
    throw new Error(
      `${name}: kernels of ${k.length} and ${l.length} examples cannot be compared; give the same examples`,
    );
}

const inner = (a: GramMatrix, b: GramMatrix): number =>
  a.reduce((total, row, i) => total + row.reduce((part, value, j) => part + value * b[i][j], 0), 0);

const rowMeans = (matrix: GramMatrix): number[] =>
  matrix.map((row) => row.reduce((total, value) => total + value, 0) / row.length);

/** HKH with H = I − 1/n: the kernel of centred vectors. */
function centred(kernel: GramMatrix): number[][] {
  const means = rowMeans(kernel);
  const all = means.reduce((total, value) => total + value, 0) / means.length;
  return kernel.map((row, i) => row.map((value, j) => value - means[i] - means[j] + all));
}

/**
 * Linear CKA of two kernels of the same n examples. Range [0, 1]: 1 for equal geometry, near 0 for unrelated one only
 * when n is far above the numbers of dimensions; invariant under orthogonal maps, shifts and a scale of either side.
 * null when one side is the same vector for every example, or not finite.
 */
export function linearCka(k: GramMatrix, l: GramMatrix): number | null {
  checkKernels("linearCka", k, l);
  if (!isFiniteGram(k) || !isFiniteGram(l)) return null;
  const [x, y] = [centred(k), centred(l)];
  const scale = Math.sqrt(inner(x, x) * inner(y, y));
  const isFlat = (part: GramMatrix, whole: GramMatrix) => !(inner(part, part) > 1e-24 * inner(whole, whole));
  return isFlat(x, k) || isFlat(y, l) ? null : Math.max(0, Math.min(1, inner(x, y) / scale));
}

/**
 * The kernel with its diagonal left out, and its rows and columns centred so that inner products of two such matrices
 * estimate HSIC without bias (Song et al. 2012; "U-centring", Székely & Rizzo 2014). Of n examples, n ≥ 4.
 */
function unbiased(kernel: GramMatrix): number[][] {
  const n = kernel.length;
  const off = kernel.map((row, i) => row.map((value, j) => (i === j ? 0 : value)));
  const rows = off.map((row) => row.reduce((total, value) => total + value, 0));
  const all = rows.reduce((total, value) => total + value, 0);
  return off.map((row, i) =>
    row.map((value, j) => (i === j ? 0 : value - (rows[i] + rows[j]) / (n - 2) + all / ((n - 1) * (n - 2)))),
  );
}

/**
 * Linear CKA by the unbiased HSIC estimate (Song et al. 2012; Nguyen et al. 2021): unlike `linearCka` it is 0 on average
 * for unrelated sides however few examples there are. Range [-1, 1]; 1 for equal geometry; invariances as there. null
 * below four examples, when one side is the same vector for every example, or not finite.
 */
export function debiasedCka(k: GramMatrix, l: GramMatrix): number | null {
  checkKernels("debiasedCka", k, l);
  if (k.length < fewestCkaExamples || !isFiniteGram(k) || !isFiniteGram(l)) return null;
  const [x, y] = [unbiased(k), unbiased(l)];
  const isFlat = (part: GramMatrix, whole: GramMatrix) => !(inner(part, part) > 1e-24 * inner(whole, whole));
  if (isFlat(x, k) || isFlat(y, l)) return null;
  return Math.max(-1, Math.min(1, inner(x, y) / Math.sqrt(inner(x, x) * inner(y, y))));
}

/**
 * The Gram matrix [m, m] of the m kernels' unbiased forms, reduced on their backend: its `cosineSimilarity` is the
 * debiased CKA of every pair. `kernels` are m tensors XXᵀ [n, n] of the same n ≥ 4 examples. Throws for fewer.
 */
export function ckaGram(kernels: readonly Tensor[]): Tensor {
  const [{ shape, dtype, backend }] = kernels;
  const [n] = shape;
  if (n < fewestCkaExamples)
    throw new Error(
      `ckaGram: ${n} examples are too few for the unbiased estimate; give ${fewestCkaExamples} or more`,
    );
  const apart = sub(1, eye(n, { dtype, backend }));
  const off = mul(stack(kernels), apart);
  const rows = sum(off, 2, { keepDims: true });
  const columns = reshape(rows, [kernels.length, 1, n]);
  const all = sum(rows, 1, { keepDims: true });
  const spread = rows
    .add(columns)
    .mul(1 / (n - 2))
    .sub(all.mul(1 / ((n - 1) * (n - 2))));
  return gramOfRows(reshape(mul(off.sub(spread), apart), [kernels.length, n * n]));
}
