/** From the reductions of a step, once they are read, to the figures. */
import type { Tensor } from "../../tensor/tensor.ts";
import {
  cosineSimilarity,
  debiasedCka,
  effectiveRank,
  firstDirectionShare,
  type GramMatrix,
  gramRows,
  isFiniteGram,
  norms,
  pearsonFromGram,
  sharedEnergy,
} from "../measures/index.ts";
import type { ReducedMap, ReducedSides } from "./pass.ts";
import type { PieceSample, SideSample, StageSample } from "./samples.ts";

const notFinite = "a gradient was not finite: NaN, infinite, or too large to square";

/** Reads a square matrix and frees it. */
async function take(matrix: Tensor): Promise<GramMatrix> {
  const flat = await matrix.data();
  matrix.dispose();
  return gramRows(flat, matrix.shape[0]);
}

/** The figures of a map's pieces. */
export async function pieceSample(
  step: number,
  { consumers, gram, weights }: ReducedMap,
): Promise<PieceSample> {
  const [products, kernels] = await Promise.all([take(gram), weights && take(weights.gram)]);
  const alignment = kernels && cosineSimilarity(kernels);
  const position = new Map(weights?.of.map((consumer, i) => [consumer, i]));
  const weightCka = consumers.map((_, a) =>
    consumers.map((_other, b) => {
      const [i, j] = [position.get(a), position.get(b)];
      return alignment && i !== undefined && j !== undefined ? alignment[i][j] : null;
    }),
  );
  return {
    step,
    norms: norms(products),
    cosine: cosineSimilarity(products),
    sharedEnergy: sharedEnergy(products),
    firstDirectionShare: firstDirectionShare(products),
    effectiveRank: effectiveRank(products),
    weightCka,
    ...(isFiniteGram(products) && (!kernels || isFiniteGram(kernels)) ? {} : { gap: notFinite }),
  };
}

/** A sample without figures, for consumers that are not those of the samples before. */
export function emptySample(step: number, pieces: number, gap: string): PieceSample {
  const none = Array.from({ length: pieces }, () => null);
  return {
    step,
    norms: none,
    cosine: none.map(() => none),
    sharedEnergy: null,
    firstDirectionShare: null,
    effectiveRank: null,
    weightCka: none.map(() => none),
    gap,
  };
}

/** The figures of the two sides. */
export async function sideSample(
  step: number,
  { moments, dense, bypass }: ReducedSides,
): Promise<SideSample> {
  // The rounding of one operation in the sides' dtype.
  const epsilon = moments.dtype === "f64" ? 2 ** -53 : 2 ** -24;
  const [pairs, k, l] = await Promise.all([take(moments), take(dense), take(bypass)]);
  const finite = [pairs, k, l].every(isFiniteGram);
  return {
    step,
    correlation: finite ? pearsonFromGram(pairs, epsilon) : null,
    cka: finite ? debiasedCka(k, l) : null,
    ...(finite ? {} : { gap: notFinite }),
  };
}

function meanOf(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length > 0 ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

const pairsOf = (matrix: PieceSample["cosine"]): (number | null)[] =>
  matrix.flatMap((row, a) => row.slice(a + 1));

/** The stage's mean over its maps. */
export function stageSample(
  step: number,
  maps: readonly PieceSample[],
  sides: SideSample | null,
): StageSample {
  const over = (figure: (sample: PieceSample) => number | null) => meanOf(maps.map(figure));
  const energies = maps.flatMap((sample) => sample.norms).map((norm) => norm !== null && norm * norm);
  const energy = energies.reduce<number | null>(
    (sum, value) => (sum === null || value === false ? null : sum + value),
    energies.length > 0 ? 0 : null,
  );
  return {
    step,
    cosine: over(({ cosine }) => meanOf(pairsOf(cosine))),
    energyRatio: over(({ sharedEnergy: share, norms: { length } }) => share && share * length),
    firstDirectionShare: over((sample) => sample.firstDirectionShare),
    rankShare: over(({ effectiveRank: rank, norms: { length } }) => rank && rank / length),
    weightCka: over(({ weightCka }) => meanOf(pairsOf(weightCka))),
    norm: energy === null ? null : Math.sqrt(energy),
    sideCorrelation: sides?.correlation ?? null,
    sideCka: sides?.cka ?? null,
  };
}
