/** What the training of one variant with one seed gives: plain numbers, so that they can be stored and read again. */
import { z } from "zod";

const number = z.number().nullable();
const numbers = z.array(number);
const matrix = z.array(numbers);
const step = z.number().int().nonnegative();

const summary = z.strictObject({
  count: z.number(),
  missing: z.number(),
  mean: number,
  variance: number,
  interval: z.tuple([z.number(), z.number()]).nullable(),
});

const figures = {
  cosine: number,
  energyRatio: number,
  firstDirectionShare: number,
  rankShare: number,
  weightCka: number,
  norm: number,
  sideCorrelation: number,
  sideCka: number,
};

const measuredStage = z.strictObject({
  name: z.string(),
  maps: z.array(
    z.strictObject({
      map: z.string(),
      consumers: z.array(z.string()),
      samples: z.array(
        z.strictObject({
          step,
          norms: numbers,
          cosine: matrix,
          sharedEnergy: number,
          firstDirectionShare: number,
          effectiveRank: number,
          weightCka: matrix,
          gap: z.string().optional(),
        }),
      ),
    }),
  ),
  sides: z
    .array(z.strictObject({ step, correlation: number, cka: number, gap: z.string().optional() }))
    .nullable(),
  samples: z.array(z.strictObject({ step, ...figures })),
  summaries: z.strictObject({
    cosine: summary,
    energyRatio: summary,
    firstDirectionShare: summary,
    rankShare: summary,
    weightCka: summary,
    norm: summary,
    sideCorrelation: summary,
    sideCka: summary,
  }),
});

export const seedResultShape = z.strictObject({
  seed: z.number(),
  testImages: z.number(),
  correct: z.number(),
  /** One entry a step. */
  loss: z.array(z.number()),
  trainAccuracy: z.array(z.number()),
  peakBytes: number,
  stepMilliseconds: number,
  imagesPerSecond: number,
  /** Time that sampling added, and all time, in milliseconds; null when there was nothing to compare it with. */
  sampling: z.strictObject({ added: z.number(), total: z.number() }).nullable(),
  /** Gradient pieces that were edited in every step. */
  editedPieces: z.number(),
  measured: z.array(measuredStage),
});

/** The numbers of one run. */
export type SeedResult = z.infer<typeof seedResultShape>;
