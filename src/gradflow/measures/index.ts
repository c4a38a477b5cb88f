/** The measures on gradient pieces, each in a file of its own with its definition, range, invariances and reference. */
export { ckaGram, debiasedCka, fewestCkaExamples, linearCka } from "./cka.ts";
export { cosineSimilarity, smallestCosine } from "./cosine.ts";
export { effectiveRank } from "./effectiveRank.ts";
export { symmetricEigenvalues } from "./eigenvalues.ts";
export { firstDirectionShare } from "./firstDirectionShare.ts";
export { type GramMatrix, gramMatrix, gramOfRows, gramRows, isFiniteGram } from "./gram.ts";
export { norms } from "./norms.ts";
export { pearsonCorrelation, pearsonFromGram } from "./pearson.ts";
export { RunningStatistics, type Summary, summarize } from "./running.ts";
export { sharedEnergy } from "./sharedEnergy.ts";
export { studentT95 } from "./studentT.ts";
