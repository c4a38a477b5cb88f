/** Lengths of gradient pieces. */
import type { GramMatrix } from "./gram.ts";

/**
 * |v_a|, one per piece. Range [0, ∞); invariant under orthogonal maps, and scales with the piece. null where the
 * piece is not finite.
 */
export function norms(gram: GramMatrix): (number | null)[] {
  return gram.map((row, a) => (Number.isFinite(row[a]) ? Math.sqrt(Math.max(0, row[a])) : null));
}
