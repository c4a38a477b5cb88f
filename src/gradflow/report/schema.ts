/**
 * The gradient reuse report as data: what the measuring code fills in and what the terminal table and the HTML
 * page draw. Two rules hold everywhere: a field that is absent does not apply (a DenseNet has no fusion), and a
 * number that is `null` applies but was not measured; `gaps` may say why. Nothing is ever 0 for want of a number.
 */

import { z } from "zod";
import { inconsistencies } from "./consistency.ts";

/** The version this code writes, and the only one that it reads. */
export const reportSchemaVersion = 2;

const text = z.string().min(1);
const count = z.number().int().nonnegative();
/** A number that may be missing; `null` is shown as a marked gap, never as 0. */
const measured = z.number().nullable();
const fraction = z.number().min(0).max(1).nullable();
/** A symbol in the paper's notation: `x_0''`, `w_T`, `g_12`. Two primes mean the second part of a split. */
const symbol = z.string().min(1).max(64);
/** Which side of the stage something belongs to. `shared` reads or feeds both sides; `main` has no sides. */
const side = z.enum(["main", "dense", "bypass", "shared"]);

const machine = z.strictObject({ cpu: text, threads: count });

const meta = z.strictObject({
  title: text,
  createdAt: z.iso.datetime(),
  /** The first seed, and the only one where `seeds` is absent. */
  seed: count,
  /** All seeds that every variant was trained with. */
  seeds: z.array(count).min(1).optional(),
  dataset: z.strictObject({ name: text, trainImages: count, testImages: count }),
  /** The command that makes this report again. */
  command: text,
  versions: z.strictObject({ gradweave: text, node: text }),
  machine,
  /** False when the run was stopped before its last step; then `stopReason` says by what. */
  finished: z.boolean(),
  stopReason: text.optional(),
  /** How gradient pieces were sampled: every so many steps, over so many images, at what cost in step time. */
  sampling: z.strictObject({ everySteps: count, imagesPerSample: count, overheadFraction: measured }),
  /** The training settings: epochs, batchSize, learningRate and whatever else repeats the run. */
  settings: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
});

const architecture = z.strictObject({
  /** Dense layers per stage. */
  blocks: z.array(count),
  growthRate: count,
  /** γ: the share of a stage's input channels that bypasses the dense block. */
  partialRatio: z.number().min(0).max(1).optional(),
  fusion: z.enum(["both", "first", "last"]).optional(),
  /** "sparse": a layer reads the maps 1, 2, 4, … before it (SparseNet); absent: all of them. */
  connection: z.enum(["dense", "sparse"]).optional(),
  /** Input channels of each group of the grouped 3x3 convolutions. */
  groupChannels: count.optional(),
});

const cost = z.strictObject({
  parameters: measured,
  /** Floating-point operations of one forward pass: a multiply-add counts 2. */
  flopsPerImage: measured,
  /** CIO, in elements: the sum over convolutions of input plus output size (Chao et al. 2019). */
  convInputOutput: measured,
  /** Most bytes live at one moment of a training step. */
  peakBytes: measured,
  stepMilliseconds: measured,
  imagesPerSecond: measured,
});

const accuracy = z.strictObject({
  /** Fractions between 0 and 1. */
  test: fraction,
  train: fraction,
  testImages: count,
  /** Test images classified correctly. */
  correct: count.nullable(),
});

const curves = z.strictObject({
  /** Training steps at which `loss` and `trainAccuracy` (of the step's own batch) were recorded. */
  step: z.array(count),
  loss: z.array(measured),
  trainAccuracy: z.array(fraction),
  evaluations: z.array(z.strictObject({ step: count, testAccuracy: fraction })),
});

const equations = z.strictObject({
  /** One equation per line, `x_2 = w_2 * [x_0, x_1]`. */
  forward: z.array(text),
  /** One equation per line, `w_2' = f(w_2, g_0, g_1)`. */
  update: z.array(text),
  forwardLatex: z.array(text),
  updateLatex: z.array(text),
  /** Which module every symbol stands for. */
  legend: z.array(z.strictObject({ symbol, meaning: text })),
});

const featureMap = z.strictObject({
  symbol,
  /** The symbol of its gradient in the update equations. */
  gradient: symbol,
  channels: count,
  height: count,
  width: count,
  side,
});

const weight = z.strictObject({
  symbol,
  modulePath: text,
  /** Feature maps that the layer reads: its gradient set S(w) is their gradients. */
  sources: z.array(symbol),
  /** The feature map that the layer writes. */
  output: symbol,
  side,
});

const duplicates = z.strictObject({
  /** Σ over gradients of (weights reached - 1). */
  total: count,
  /** The same sum with every term times the channels of the feature map. */
  weightedByChannels: count,
  /** Pairs of one weight of each side that share a gradient. */
  acrossSides: count,
  /** Every pair of weights that is updated with the same gradient. */
  pairs: z.array(
    z.strictObject({ gradient: symbol, weights: z.tuple([symbol, symbol]), across: z.boolean() }),
  ),
});

const paths = z.strictObject({
  featureMap: symbol,
  /** Directed paths from the end of the stage to this map, in decimal: it grows as 2^k. */
  count: z.string().regex(/^\d+$/, 'expected a decimal integer as text, such as "16"'),
  /** Lengths in weighted layers. */
  shortest: count,
  longest: count,
});

const structure = z.strictObject({
  /** In layer order, the order in which the diagram draws them. */
  featureMaps: z.array(featureMap),
  weights: z.array(weight),
  reuse: z.array(z.strictObject({ gradient: symbol, weights: z.array(symbol), count })),
  duplicates,
  paths: z.array(paths),
  /** Bytes per image of gradient pieces beyond the first of their feature map. */
  duplicateBytes: measured,
});

/** A figure of the pieces of one stage at one step: the mean over its feature maps. */
const stageSample = z.strictObject({
  step: count,
  /** Mean cosine over pairs of pieces. */
  cosine: measured,
  /** n |Σ v|² / (n Σ |v|²): 1 for orthogonal pieces, n for copies. */
  energyRatio: measured,
  firstDirectionShare: measured,
  /** Effective rank over the number of pieces. */
  rankShare: measured,
  /** Mean debiased CKA over pairs of weights that read the same map. */
  weightCka: measured,
  /** Euclidean norm of all pieces. */
  norm: measured,
  sideCorrelation: measured,
  sideCka: measured,
});

const pieceSample = z.strictObject({
  step: count,
  /** Euclidean norm of the piece from every consumer. */
  norms: z.array(measured),
  /** Cosine between the pieces of consumers a and b; n x n, symmetric. */
  cosine: z.array(z.array(measured)),
  /** |Σ v|² / (n Σ |v|²): 1 for identical pieces, 1/n for orthogonal ones. */
  sharedEnergy: measured,
  /** Share of the largest eigenvalue of the pieces' Gram matrix. */
  firstDirectionShare: measured,
  /** exp of the entropy of the Gram matrix's normalised eigenvalues: 1 to n. */
  effectiveRank: measured,
  /** Debiased CKA between the gradients of the weights that read the map; n x n, symmetric. */
  weightCka: z.array(z.array(measured)),
});

const measuredPieces = z.strictObject({
  /** The feature map that receives the pieces. */
  featureMap: symbol,
  /** Weights whose layers send a piece each. */
  consumers: z.array(symbol),
  samples: z.array(pieceSample),
});

const stage = z.strictObject({
  name: text,
  equations,
  structure,
  /** Of the first seed. */
  measured: z.array(measuredPieces),
  /** Of the first seed. */
  samples: z.array(stageSample),
  /** Pearson correlation and debiased CKA between the gradients of the two sides; absent where a stage has one side. */
  sides: z
    .strictObject({
      samples: z.array(z.strictObject({ step: count, correlation: measured, cka: measured })),
    })
    .optional(),
});

/** What one seed of a variant measured: for bands in the curves and intervals in the table. */
const seedRun = z.strictObject({
  seed: count,
  accuracy,
  curves,
  peakBytes: measured,
  stepMilliseconds: measured,
  stages: z.array(z.strictObject({ name: text, samples: z.array(stageSample) })),
});

/** A variant whose gradient paths were edited in the backward pass: same network, seed and data as another. */
const counterfactual = z.strictObject({
  /** The variant's name whose paths were edited. */
  of: text,
  /** Such as `truncate(duplicates)`. */
  edit: text,
  /** Gradient pieces that were edited in every step. */
  pieces: count,
});

const variant = z.strictObject({
  name: text,
  description: z.string(),
  architecture,
  cost,
  accuracy,
  curves,
  stages: z.array(stage),
  /** One entry per seed; absent where there was one run. Then `accuracy` counts all seeds, and `curves` is the first's. */
  seeds: z.array(seedRun).optional(),
  counterfactual: counterfactual.optional(),
});

/** Units that the report knows how to print; any other text is printed behind the plain number. */
const comparisonRow = z.strictObject({
  measure: text,
  /** `count`, `fraction`, `bytes`, `ms`, `FLOPs`, `ratio`, or free text such as `images/s`. */
  unit: z.string(),
  /** One value per variant, in the order of `variants`. */
  values: z.array(measured),
  /** 95 % confidence intervals, one per variant, where there is one. */
  intervals: z.array(z.tuple([z.number(), z.number()]).nullable()).optional(),
  note: z.string(),
  /** Which direction is better, or `null` where neither is. */
  better: z.enum(["higher", "lower"]).nullable(),
});

const reportShape = z.strictObject({
  schemaVersion: z.literal(reportSchemaVersion),
  meta,
  /** The first variant is the baseline that the others are compared with. */
  variants: z.array(variant).min(1),
  comparison: z.array(comparisonRow),
  /** How every figure was computed; `figure` is what the page calls it. */
  methods: z.array(z.strictObject({ figure: text, definition: text, reference: z.string() })),
  /** Why numbers are missing: `path` such as `variants[0].cost.peakBytes` covers everything below it. */
  gaps: z.array(z.strictObject({ path: text, reason: text })),
});

/**
 * The schema of the report's JSON file. Unknown keys are refused, so a typing error cannot hide a figure, and
 * figures that contradict each other (a reuse count that is not the number of weights listed) are refused too.
 */
export const gradientReuseReportSchema = reportShape.superRefine((report, context) => {
  for (const { path, message } of inconsistencies(report))
    context.addIssue({ code: "custom", path, message });
});

/** A gradient reuse report, schema version 2. */
export type GradientReuseReport = z.infer<typeof reportShape>;
export type ReportVariant = z.infer<typeof variant>;
export type ReportStage = z.infer<typeof stage>;
export type ReportStructure = z.infer<typeof structure>;
export type ReportFeatureMap = z.infer<typeof featureMap>;
export type ReportWeight = z.infer<typeof weight>;
export type ReportMeasuredPieces = z.infer<typeof measuredPieces>;
export type ReportPieceSample = z.infer<typeof pieceSample>;
export type ReportStageSample = z.infer<typeof stageSample>;
export type ReportSeedRun = z.infer<typeof seedRun>;
export type ReportComparisonRow = z.infer<typeof comparisonRow>;
