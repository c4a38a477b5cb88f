/** Directions of gradient pieces, compared in pairs. */
import type { GramMatrix } from "./gram.ts";
import { norms } from "./norms.ts";

/**
 * cos(v_a, v_b), n x n. Range [-1, 1]; 1 for copies, 0 for orthogonal pieces; invariant under positive scaling of any
 * piece and under orthogonal maps. null where a piece is zero or not finite: it has no direction.
 */
export function cosineSimilarity(gram: GramMatrix): (number | null)[][] {
  const lengths = norms(gram);
  return gram.map((row, a) =>
    row.map((dot, b) => {
      const [x, y] = [lengths[a], lengths[b]];
      if (!x || !y || !Number.isFinite(dot)) return null;
      return a === b ? 1 : Math.max(-1, Math.min(1, dot / (x * y)));
    }),
  );
}

/**
 * The smallest cosine over pairs of pieces, which is minus the gradient confusion of Sankararaman et al. 2020 for
 * normalised pieces: how much two consumers pull a map in opposite directions. Range [-1, 1]; invariant like the cosine. null
 * without a pair that has one.
 */
export function smallestCosine(gram: GramMatrix): number | null {
  const pairs = cosineSimilarity(gram).flatMap((row, a) => row.slice(a + 1));
  const known = pairs.filter((value) => value !== null);
  return known.length > 0 ? Math.min(...known) : null;
}
