/** Puts a run's measurements together into the report. */
import { cost, trace } from "../graph/index.ts";
import type { Module } from "../nn/index.ts";
import { zeros } from "../tensor/create.ts";
import { scope } from "../tensor/scope.ts";
import { comparisonGaps, comparisonRows } from "./comparison.ts";
import { reportMethods } from "./methods.ts";
import { stageEquations } from "./notation.ts";
import type { MeasuredStage } from "./recording/samples.ts";
import {
  type GradientReuseReport,
  type ReportSeedRun,
  type ReportStage,
  type ReportVariant,
  reportSchemaVersion,
} from "./report/index.ts";
import { analyzeStage, readMaps, type Stage, type StageSelection } from "./stage.ts";
import { duplicatePairs, type StageStructure, stageStructure } from "./structure.ts";

/** One network of a comparison with everything that was measured while it trained. */
export interface MeasuredVariant {
  readonly name: string;
  readonly description: string;
  readonly architecture: ReportVariant["architecture"];
  readonly model: Module;
  readonly stages: readonly StageSelection[];
  /** One image, `[C, H, W]`. */
  readonly imageShape: readonly number[];
  /** What measured the pieces, a GradientRecorder; null when none were sampled: the structure is still exact. */
  readonly recorder: { measured(): readonly MeasuredStage[] } | null;
  readonly training: {
    readonly accuracy: ReportVariant["accuracy"];
    readonly curves: ReportVariant["curves"];
    readonly peakBytes: number | null;
    readonly stepMilliseconds: number | null;
    readonly imagesPerSecond: number | null;
  };
  /** What every seed measured, where there were several: then `training` counts all, and `recorder` is the first's. */
  readonly seeds?: readonly ReportSeedRun[];
  /** How its gradient paths were edited, if they were. */
  readonly counterfactual?: NonNullable<ReportVariant["counterfactual"]>;
}

/** The report's first part; the rest is worked out. */
export type ReportMeta = GradientReuseReport["meta"];

/**
 * Traces every network once for equations, structure and cost, and joins that with what was measured. `gaps` says
 * why numbers are missing.
 */
export function buildReport(
  meta: ReportMeta,
  measured: readonly MeasuredVariant[],
  gaps: GradientReuseReport["gaps"] = [],
): GradientReuseReport {
  const variants = measured.map(reportVariant);
  const comparison = comparisonRows(variants);
  return {
    schemaVersion: reportSchemaVersion,
    meta,
    variants,
    comparison,
    methods: reportMethods(meta.sampling.imagesPerSample),
    gaps: [
      ...gaps,
      ...measured.flatMap((variant, i) => sampleGaps(stagesOf(variant), `variants[${i}]`)),
      ...comparisonGaps(comparison, variants),
    ],
  };
}

/** A variant's samples in the order of its stages; without a recorder there are none. */
function stagesOf({ recorder, stages }: MeasuredVariant): readonly MeasuredStage[] {
  const measured = new Map(recorder?.measured().map((stage) => [stage.name, stage]));
  return stages.flatMap(({ name }) => measured.get(name) ?? []);
}

function reportVariant(variant: MeasuredVariant): ReportVariant {
  const [{ dtype } = { dtype: "f32" as const }] = variant.model.parameters();
  const traced = scope(() => trace(variant.model, zeros([1, ...variant.imageShape], { dtype })));
  const { parameters, flopsPerImage, convInputOutput } = cost(traced);
  const { accuracy, curves, peakBytes, stepMilliseconds, imagesPerSecond } = variant.training;
  const samples = new Map(stagesOf(variant).map((stage) => [stage.name, stage]));
  return {
    name: variant.name,
    description: variant.description,
    architecture: variant.architecture,
    cost: { parameters, flopsPerImage, convInputOutput, peakBytes, stepMilliseconds, imagesPerSecond },
    accuracy,
    curves,
    stages: variant.stages.map((selection) =>
      reportStage(analyzeStage(traced, selection), samples.get(selection.name)),
    ),
    ...(variant.seeds ? { seeds: [...variant.seeds] } : {}),
    ...(variant.counterfactual ? { counterfactual: variant.counterfactual } : {}),
  };
}

/** A stage's equations and structure, with its samples, under the report's symbols. */
export function reportStage(stage: Stage, samples?: MeasuredStage): ReportStage {
  const { forward, update, forwardLatex, updateLatex, legend } = stageEquations(stage);
  const measured = (samples?.maps ?? []).map(({ map, consumers, samples: list }) => ({
    featureMap: `x_${map}`,
    consumers: [...consumers],
    samples: list.map(({ gap: _gap, ...sample }) => ({
      ...sample,
      norms: [...sample.norms],
      cosine: sample.cosine.map((row) => [...row]),
      weightCka: sample.weightCka.map((row) => [...row]),
    })),
  }));
  return {
    name: stage.name,
    equations: {
      forward: [...forward],
      update: [...update],
      forwardLatex: [...forwardLatex],
      updateLatex: [...updateLatex],
      legend: legend.map((entry) => ({ ...entry })),
    },
    structure: reportStructure(stage, stageStructure(stage)),
    measured,
    samples: (samples?.samples ?? []).map((sample) => ({ ...sample })),
    ...(samples?.sides
      ? { sides: { samples: samples.sides.map(({ gap: _gap, ...sample }) => sample) } }
      : {}),
  };
}

/** Where a variant's samples have no figures because gradients were not finite, or came from other consumers. */
function sampleGaps(stages: readonly MeasuredStage[], path: string): GradientReuseReport["gaps"] {
  return stages.flatMap(({ maps, sides }, i) => [
    ...maps.flatMap(({ samples }, map) =>
      samples.flatMap(({ gap, step }, at) =>
        gap
          ? [{ path: `${path}.stages[${i}].measured[${map}].samples[${at}]`, reason: `step ${step}: ${gap}` }]
          : [],
      ),
    ),
    ...(sides ?? []).flatMap(({ gap, step }, at) =>
      gap ? [{ path: `${path}.stages[${i}].sides.samples[${at}]`, reason: `step ${step}: ${gap}` }] : [],
    ),
  ]);
}

function reportStructure(stage: Stage, structure: StageStructure): ReportStage["structure"] {
  const x = (map: number): string => `x_${stage.maps[map].name}`;
  const g = (map: number): string => `g_${stage.maps[map].name}`;
  const w = (weight: number): string => `w_${stage.weights[weight].name}`;
  const shown = new Set([...readMaps(stage), ...stage.layers.map(({ output }) => output)]);
  return {
    featureMaps: stage.maps.flatMap(({ shape: [, channels, height, width], side }, map) =>
      shown.has(map) ? [{ symbol: x(map), gradient: g(map), channels, height, width, side }] : [],
    ),
    weights: stage.weights.map(({ modulePath, layers, sources, side }, weight) => ({
      symbol: w(weight),
      modulePath: modulePath || "(root)",
      sources: sources.map(x),
      output: x(stage.layers[layers[0]].output),
      side,
    })),
    reuse: structure.reuse.map(({ map, weights }) => ({
      gradient: g(map),
      weights: weights.map(w),
      count: weights.length,
    })),
    duplicates: {
      total: structure.duplicates,
      weightedByChannels: structure.duplicatesByChannels,
      acrossSides: structure.duplicatesAcross,
      pairs: duplicatePairs(stage, structure.reuse).map(({ map, weights: [a, b], across }) => ({
        gradient: g(map),
        weights: [w(a), w(b)],
        across,
      })),
    },
    paths: structure.paths.map(({ map, count, shortest, longest }) => ({
      featureMap: x(map),
      count: String(count),
      shortest,
      longest,
    })),
    duplicateBytes: structure.duplicateBytes,
  };
}
