/** A report of many networks with several seeds, as the ablation makes it, from the sample report's two networks. */

import type { GradientReuseReport, ReportSeedRun, ReportVariant } from "../../src/gradflow/report/index.ts";
import { sampleReport } from "./sampleReport.ts";

export interface ManyOptions {
  readonly variants?: number;
  readonly seeds?: readonly number[];
  readonly steps?: number;
  readonly samples?: number;
}

/** Variant `i` has its own numbers; the last is a counterfactual of the first. */
export function manyReport(options: ManyOptions = {}): GradientReuseReport {
  const { variants = 10, seeds = [0, 1, 2], steps = 100, samples = 8 } = options;
  const base = sampleReport({ layers: 4, stages: 2, steps, samples });
  const [dense, csp] = base.variants;
  if (dense === undefined || csp === undefined) throw new Error("the sample report has two networks");
  const many = Array.from({ length: variants }, (_, i): ReportVariant => {
    const own = structuredClone(i % 2 === 0 ? dense : csp);
    own.name = `network ${i}`;
    own.cost.parameters = 10_000 + 137 * ((i * 7) % variants);
    own.seeds = seeds.map((seed, s): ReportSeedRun => seedRun(own, seed, i + 0.31 * s));
    own.curves = own.seeds[0]?.curves ?? own.curves;
    if (i === variants - 1)
      own.counterfactual = { of: "network 0", edit: "truncate(duplicates)", pieces: 10 };
    return own;
  });
  return {
    ...base,
    meta: { ...base.meta, title: "Ten networks", seed: seeds[0] ?? 0, seeds: [...seeds] },
    variants: many,
    comparison: base.comparison.map((row) => ({
      ...row,
      values: many.map((variant, i) =>
        row.measure === "Parameters"
          ? variant.cost.parameters
          : i === 4
            ? null
            : (row.values[0] ?? 1) + i / 1000,
      ),
      ...(row.intervals
        ? { intervals: many.map((_, i): [number, number] => [0.9 + i / 999, 0.95 + i / 999]) }
        : {}),
    })),
    gaps: [],
  };
}

function seedRun(
  { accuracy, curves, cost, stages }: ReportVariant,
  seed: number,
  shift: number,
): ReportSeedRun {
  return {
    seed,
    accuracy,
    curves: { ...curves, loss: curves.loss.map((loss) => (loss === null ? null : loss + shift / 100)) },
    peakBytes: cost.peakBytes,
    stepMilliseconds: cost.stepMilliseconds,
    stages: stages.map(({ name, measured }) => ({
      name,
      samples: (measured[0]?.samples ?? []).map(({ step }) => ({
        step,
        cosine: 0.2 + shift / 77 - step / 5000,
        energyRatio: 1.2 + shift / 50,
        firstDirectionShare: 0.5,
        rankShare: 0.8 - shift / 60,
        weightCka: 0.4,
        norm: 0.02 + shift / 1000,
        sideCorrelation: null,
        sideCka: null,
      })),
    })),
  };
}
