/** What the recorder gives: figures of gradient pieces, by sampled step, feature map and stage. */
import type { Summary } from "../measures/index.ts";

/** The pieces at one feature map in one step, reduced to numbers; see `measures/` for each. null: it has no answer. */
export interface PieceSample {
  readonly step: number;
  readonly norms: readonly (number | null)[];
  readonly cosine: readonly (readonly (number | null)[])[];
  readonly sharedEnergy: number | null;
  readonly firstDirectionShare: number | null;
  readonly effectiveRank: number | null;
  /**
   * Debiased CKA between the gradients of the weights that read the map, over its channels: n x n. null where a weight
   * is none (a piece that leaves the stage), is grouped, or the map has fewer than four channels.
   */
  readonly weightCka: readonly (readonly (number | null)[])[];
  /** Why figures are missing that should be there: a gradient was not finite. */
  readonly gap?: string | undefined;
}

/** All samples of one feature map. */
export interface MeasuredMap {
  /** `0''`, `2`, `T` */
  readonly map: string;
  /** The consumers by the names of their weights, `w_2+w_T` for a sum read by both, `out` for what leaves the stage. */
  readonly consumers: readonly string[];
  readonly samples: readonly PieceSample[];
}

/** The gradients of a stage's two sides in one step. */
export interface SideSample {
  readonly step: number;
  /** Pearson correlation of the two gradients, each averaged over its channels to [N, H, W]. */
  readonly correlation: number | null;
  /** Debiased CKA of the two gradients, the images of the batch as examples. */
  readonly cka: number | null;
  readonly gap?: string | undefined;
}

/** A stage's figures in one step: the mean over its feature maps. */
export interface StageSample {
  readonly step: number;
  /** Mean over pairs of pieces. */
  readonly cosine: number | null;
  /** n times the shared energy: 1 when a map's n pieces are orthogonal, n when they are copies. */
  readonly energyRatio: number | null;
  readonly firstDirectionShare: number | null;
  /** Effective rank over the number of pieces. */
  readonly rankShare: number | null;
  /** Mean over pairs of weights. */
  readonly weightCka: number | null;
  /** Euclidean norm of all pieces of the stage together. */
  readonly norm: number | null;
  readonly sideCorrelation: number | null;
  readonly sideCka: number | null;
}

/** The figures of a stage, without the step. */
export type StageFigure = Exclude<keyof StageSample, "step">;

/** What was measured on one stage. */
export interface MeasuredStage {
  readonly name: string;
  /** Empty when only stages were sampled. */
  readonly maps: readonly MeasuredMap[];
  /** null for a stage with one side. */
  readonly sides: readonly SideSample[] | null;
  readonly samples: readonly StageSample[];
  /** Mean and variance of every figure over the sampled steps. */
  readonly summaries: Readonly<Record<StageFigure, Summary>>;
}
