/**
 * The Gram matrix of gradient pieces, from which most measures are computed. Let v_1 … v_n be the pieces that n
 * consumers send to one feature map, as vectors over the batch: G_ab = v_a · v_b. A backend reduces it where the pieces
 * lie, so that n² numbers have to be read and not n tensors.
 */
import { matmul, reshape, stack } from "../../autograd/index.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/** Symmetric, positive semidefinite up to rounding. */
export type GramMatrix = readonly (readonly number[])[];

/** All pairwise dot products of equally shaped tensors, `[n, n]`, on their backend. Throws when there is none. */
export function gramMatrix(pieces: readonly Tensor[]): Tensor {
  return gramOfRows(stack(pieces.map((piece) => reshape(piece, [piece.size]))));
}

/** All pairwise dot products of the rows of `[n, p]`, `[n, n]`. */
export function gramOfRows(rows: Tensor): Tensor {
  return matmul(rows, rows.transpose());
}

/** A Gram matrix as it was read from its tensor, row after row. */
export function gramRows(flat: ArrayLike<number>, n: number): number[][] {
  return Array.from({ length: n }, (_, a) => Array.from({ length: n }, (_, b) => flat[a * n + b]));
}

/** True when no product overflowed and no piece held NaN: otherwise no measure has an answer. */
export function isFiniteGram(gram: GramMatrix): boolean {
  return gram.every((row) => row.every(Number.isFinite));
}
