/** How much of the pieces' energy lies along one direction. */
import { energyShares } from "./eigenvalues.ts";
import type { GramMatrix } from "./gram.ts";

/**
 * σ₁² / Σ σ_r², the share of energy along the pieces' first principal direction (not centred). Range [1/n, 1]: 1 when
 * all are multiples of one vector, 1/n when orthogonal and equally long. Invariant under a common scale and orthogonal
 * maps. null when all pieces are zero, or one is not finite. Principal components: Pearson 1901.
 */
export function firstDirectionShare(gram: GramMatrix): number | null {
  const shares = energyShares(gram);
  return shares && Math.max(...shares);
}
