/** How much of the pieces' energy survives their sum. */
import { type GramMatrix, isFiniteGram } from "./gram.ts";

/**
 * |Σ v_i|² / (n Σ |v_i|²). Range [0, 1]: 1 for identical pieces, 1/n for orthogonal ones, 0 when they cancel. The
 * inverse of gradient diversity (Yin et al. 2018) over n. Invariant under a common scale and orthogonal maps.
 * null when all pieces are zero, or one is not finite.
 */
export function sharedEnergy(gram: GramMatrix): number | null {
  if (!isFiniteGram(gram)) return null;
  const all = gram.flat().reduce((sum, dot) => sum + dot, 0);
  const own = gram.reduce((sum, row, a) => sum + row[a], 0);
  return own > 0 ? Math.max(0, all) / (gram.length * own) : null;
}
