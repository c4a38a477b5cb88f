/** What is compared, on what, for how long. */
import type { ImageDataset } from "../../data/index.ts";
import type { GradientReuseReport, PathEdit, ReportVariant, StageSelection } from "../../gradflow/index.ts";
import type { Module } from "../../nn/index.ts";

/** A network whose stages the instruments know. */
export interface StagedModule extends Module {
  readonly stages: readonly StageSelection[];
}

/** One of the networks that are compared. */
export interface ComparedVariant {
  readonly name: string;
  readonly description: string;
  readonly architecture: ReportVariant["architecture"];
  /** Builds the network for `[N, C, H, W]` images to `[N, classes]` logits; its initial values come from the seed. */
  build(): StagedModule;
  /** Gradient paths that are cut or scaled in every step: a counterfactual. */
  readonly counterfactual?: {
    /** The variant with the same network and all its paths. */
    readonly of: string;
    readonly edits: readonly PathEdit[];
    /** Such as `truncate(duplicates)`, for the report. */
    readonly edit: string;
  };
}

/** Where a comparison is, after every step. */
export interface CompareProgress {
  readonly variant: string;
  readonly seed: number;
  /** This run, from 1, of `runs`. */
  readonly run: number;
  readonly runs: number;
  /** Steps of this run that are done, of `steps`. */
  readonly step: number;
  readonly steps: number;
  /** Set when the run is finished. */
  readonly finished?: { readonly accuracy: number; readonly restored: boolean };
}

export interface CompareOptions {
  readonly title?: string;
  readonly variants: readonly ComparedVariant[];
  readonly data: {
    readonly train: ImageDataset;
    readonly test: ImageDataset;
    /** Per channel, for pixels of 0..1. */
    readonly mean?: readonly number[];
    readonly std?: readonly number[];
  };
  /** Each variant is trained once with each. */
  readonly seeds: readonly number[];
  /** Training steps of a run. */
  readonly steps: number;
  /** Default 16. */
  readonly batchSize?: number;
  /** Highest learning rate of SGD with momentum 0.9; warm-up over a tenth, then cosine. Default 0.1. */
  readonly learningRate?: number;
  /** Steps from one look at the gradients to the next. Default 50. */
  readonly everySteps?: number;
  /** A folder for finished runs: with it a comparison that was stopped, by whatever, goes on where it was. */
  readonly stateFolder?: string;
  /** Stops after the current step; the report then holds the runs that are finished. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: CompareProgress) => void;
  /** Is offered the report of the runs that are finished, after every step: a LiveReport. */
  readonly live?: { offer(build: () => GradientReuseReport | null): void };
}

/** The options with every default filled in. */
export type CompareSettings = Required<Pick<CompareOptions, "batchSize" | "learningRate" | "everySteps">> &
  CompareOptions;
