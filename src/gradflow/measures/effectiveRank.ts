/** How many directions the pieces span. */
import { energyShares } from "./eigenvalues.ts";
import type { GramMatrix } from "./gram.ts";

/**
 * exp of the entropy of σ_r² / Σ σ² (Roy & Vetterli 2007, with squared singular values). Range [1, n]: r when the
 * energy is spread evenly over r orthogonal directions. Invariant under a common scale and orthogonal maps. null when
 * all pieces are zero, or one is not finite.
 */
export function effectiveRank(gram: GramMatrix): number | null {
  const shares = energyShares(gram);
  if (!shares) return null;
  return Math.exp(-shares.reduce((sum, share) => sum + (share > 0 ? share * Math.log(share) : 0), 0));
}
