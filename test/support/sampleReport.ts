/**
 * A gradient reuse report with plausible figures for tests of the report: a DenseNet and its CSPDenseNet twin, every
 * measured number different from every other one, so that a test can look for each on the page.
 */

import type {
  GradientReuseReport,
  ReportFeatureMap,
  ReportMeasuredPieces,
  ReportStage,
  ReportStructure,
  ReportVariant,
  ReportWeight,
} from "../../src/gradflow/report/index.ts";

export interface SampleOptions {
  /** Dense layers of a stage. */
  readonly layers?: number;
  readonly stages?: number;
  /** Recorded training steps. */
  readonly steps?: number;
  /** Sampled steps. */
  readonly samples?: number;
  /** With "first" the dense side and the bypass side share gradients. */
  readonly fusion?: "both" | "first";
}

/** Builds the report; the same options always give the same report. */
export function sampleReport(options: SampleOptions = {}): GradientReuseReport {
  const { layers = 4, stages = 3, steps = 120, samples = 9, fusion = "both" } = options;
  const random = counter(20191127);
  const variants = [
    variant("DenseNet", "Dense blocks over all channels of the stage's input.", undefined),
    variant("CSPDenseNet", "Half of each stage's input channels bypasses the dense block.", fusion),
  ];

  function variant(name: string, description: string, how: "both" | "first" | undefined): ReportVariant {
    const csp = how !== undefined;
    const correct = csp ? 9831 : 9847;
    const evaluations = Array.from({ length: 4 }, (_, i) => ({
      step: Math.round(((i + 1) * steps) / 4) * 5,
      testAccuracy: 0.9 + 0.02 * i + 0.01 * random(),
    }));
    return {
      name,
      description,
      architecture: {
        blocks: Array.from({ length: stages }, () => layers),
        growthRate: 12,
        ...(csp ? { partialRatio: 0.5, fusion: how } : {}),
      },
      cost: {
        parameters: csp ? 48_722 : 64_370,
        flopsPerImage: csp ? 10_421_348 : 15_902_224,
        convInputOutput: csp ? 301_207 : 422_863,
        peakBytes: csp ? 41_943_111 : 57_671_702,
        stepMilliseconds: (csp ? 81 : 112) + random(),
        imagesPerSecond: csp ? null : 571 + random(),
      },
      accuracy: { test: correct / 10_000, train: 0.98 + 0.01 * random(), testImages: 10_000, correct },
      curves: {
        step: Array.from({ length: steps }, (_, i) => i * 5),
        loss: Array.from(
          { length: steps },
          (_, i) => 0.05 + 2.2 * Math.exp(-i / (csp ? 17 : 14)) + 0.12 * random(),
        ),
        trainAccuracy: Array.from(
          { length: steps },
          (_, i) => 0.98 - 0.85 * Math.exp(-i / 15) + 0.02 * random(),
        ),
        evaluations,
      },
      stages: Array.from({ length: stages }, (_, s) => stage(s, how)),
    };
  }

  function stage(s: number, how: "both" | "first" | undefined): ReportStage {
    const structure = stageStructure(s, layers, how);
    const first = how === undefined ? [0.55, 0.2] : [0.38, 0.1];
    const measured = structure.featureMaps.map((map): ReportMeasuredPieces => {
      const consumers = structure.weights.filter((weight) => weight.sources.includes(map.symbol));
      return {
        featureMap: map.symbol,
        consumers: consumers.map((weight) => weight.symbol),
        samples: Array.from({ length: samples }, (_, t) =>
          pieceSample(t * 25, consumers.length, (first[0] ?? 0) - (first[1] ?? 0) * (t / samples)),
        ),
      };
    });
    return {
      name: `Stage ${s + 1}`,
      equations: stageEquations(structure, s),
      structure,
      measured: measured.filter((pieces) => pieces.consumers.length > 0),
      samples: [],
      ...(how === undefined
        ? {}
        : {
            sides: {
              samples: Array.from({ length: samples }, (_, t) => ({
                step: t * 25,
                correlation: 0.4 * random() - 0.2,
                cka: null,
              })),
            },
          }),
    };
  }

  function pieceSample(step: number, n: number, level: number) {
    const cosine: (number | null)[][] = Array.from({ length: n }, () => Array.from({ length: n }, () => 1));
    for (let a = 0; a < n; a++) {
      for (let b = a + 1; b < n; b++) {
        const value = level - 0.12 * (b - a) + 0.15 * (random() - 0.5);
        const [rowA, rowB] = [cosine[a], cosine[b]];
        if (rowA !== undefined && rowB !== undefined) {
          rowA[b] = value;
          rowB[a] = value;
        }
      }
    }
    return {
      step,
      norms: Array.from({ length: n }, () => 0.003 + 0.02 * random()),
      cosine,
      sharedEnergy: 1 / n + (1 - 1 / n) * level * (0.8 + 0.2 * random()),
      firstDirectionShare: 1 / n + (1 - 1 / n) * (level + 0.1 * random()),
      effectiveRank: n - (n - 1) * level * (0.8 + 0.2 * random()),
      weightCka: cosine.map((row) => row.map(() => null)),
    };
  }

  return {
    schemaVersion: 2,
    meta: {
      title: "DenseNet beside CSPDenseNet on MNIST",
      createdAt: "2026-03-01T09:30:00.000Z",
      seed: 7,
      dataset: { name: "MNIST", trainImages: 60_000, testImages: 10_000 },
      command: "npx tsx examples/gradient-reuse.ts --seed 7",
      versions: { gradweave: "0.1.0", node: "20.20.2" },
      machine: { cpu: "Example CPU at 2.8 GHz", threads: 2 },
      finished: true,
      sampling: { everySteps: 25, imagesPerSample: 32, overheadFraction: 0.0312345 },
      settings: {
        epochs: 1,
        batchSize: 64,
        learningRate: 0.1,
        momentum: 0.9,
        schedule: "polynomial",
        augment: false,
      },
    },
    variants,
    comparison: [
      {
        measure: "Test accuracy",
        unit: "fraction",
        values: variants.map((one) => one.accuracy.test),
        intervals: [
          [0.98211, 0.98693],
          [0.98038, 0.98546],
        ],
        note: "10,000 test images",
        better: "higher",
      },
      row("Parameters", "count", (one) => one.cost.parameters, "lower", "trainable"),
      row(
        "Operations per image",
        "FLOPs",
        (one) => one.cost.flopsPerImage,
        "lower",
        "a multiply-add counts 2",
      ),
      row("CIO", "elements", (one) => one.cost.convInputOutput, "lower", "convolution input and output"),
      row("Peak memory", "bytes", (one) => one.cost.peakBytes, "lower", "of one training step"),
      row(
        "Time per step",
        "ms",
        (one) => one.cost.stepMilliseconds,
        "lower",
        "median, sampled steps left out",
      ),
      row("Throughput", "images/s", (one) => one.cost.imagesPerSecond, "higher", "while training"),
      row(
        "Duplicate bytes, stage 1",
        "bytes",
        (one) => one.stages[0]?.structure.duplicateBytes ?? null,
        null,
        "per image",
      ),
    ],
    methods: [
      {
        figure: "cosine",
        definition: "Inner product of two pieces over the product of their norms.",
        reference: "Sankararaman et al. 2020",
      },
      {
        figure: "shared energy",
        definition: "|Σ v|² / (n Σ |v|²): 1 for identical pieces, 1/n for orthogonal ones.",
        reference: "inverse of gradient diversity, Yin et al. 2018",
      },
      {
        figure: "effective rank",
        definition: "exp of the entropy of the Gram matrix's eigenvalues, normalised to sum 1.",
        reference: "Roy and Vetterli 2007, squared singular values",
      },
    ],
    gaps: [
      { path: "variants[1].cost.imagesPerSecond", reason: "the clock was not read" },
      { path: "comparison[6].values[1]", reason: "the clock was not read" },
    ],
  };

  function row(
    measure: string,
    unit: string,
    of: (variant: ReportVariant) => number | null,
    better: "higher" | "lower" | null,
    note: string,
  ) {
    return { measure, unit, values: variants.map(of), note, better };
  }
}

/** Numbers between 0 and 1 from a linear congruential generator: the same on every machine. */
function counter(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** The stage of figure 2 in the paper: a dense block, with transitions, plain or cross stage partial. */
function stageStructure(s: number, k: number, how: "both" | "first" | undefined): ReportStructure {
  const [c, d, size] = [24 + 12 * s, 12, 28 >> s];
  const csp = how !== undefined;
  const map = (symbol: string, channels: number, side: ReportFeatureMap["side"]): ReportFeatureMap => ({
    symbol,
    gradient: symbol.replace("x", "g"),
    channels,
    height: size,
    width: size,
    side,
  });
  const inner = csp ? "dense" : "main";
  const entry = csp ? "x_0''" : "x_0";
  const dense = Array.from({ length: k }, (_, i) => map(`x_${i + 1}`, d, inner));
  const reads = [entry, ...dense.map((one) => one.symbol)];
  const block = `features.stage${s + 1}`;
  const weights: ReportWeight[] = dense.map((one, i) => ({
    symbol: `w_${i + 1}`,
    modulePath: `${block}.layer${i + 1}.conv`,
    sources: reads.slice(0, i + 1),
    output: one.symbol,
    side: inner,
  }));
  const featureMaps = [
    ...(csp ? [map("x_0'", c / 2, "bypass"), map("x_0''", c / 2, "dense")] : [map("x_0", c, "main")]),
    ...dense,
  ];
  if (how === "first") {
    featureMaps.push(map("x_U", c, "shared"));
    const sources = ["x_0'", ...reads];
    weights.push({
      symbol: "w_U",
      modulePath: `${block}.transition`,
      sources,
      output: "x_U",
      side: "bypass",
    });
  } else {
    featureMaps.push(map("x_T", c, inner));
    weights.push({
      symbol: "w_T",
      modulePath: `${block}.transition1`,
      sources: reads,
      output: "x_T",
      side: inner,
    });
  }
  if (how === "both") {
    featureMaps.push(map("x_U", c + 12, "shared"));
    const sources = ["x_0'", "x_T"];
    weights.push({
      symbol: "w_U",
      modulePath: `${block}.transition2`,
      sources,
      output: "x_U",
      side: "bypass",
    });
  }
  return { featureMaps, weights, ...counted(featureMaps, weights) };
}

function counted(featureMaps: ReportFeatureMap[], weights: ReportWeight[]) {
  const readers = (map: ReportFeatureMap) => weights.filter((weight) => weight.sources.includes(map.symbol));
  const reuse = featureMaps.map((map) => {
    const list = readers(map).map((weight) => weight.symbol);
    return { gradient: map.gradient, weights: list, count: list.length };
  });
  const pairs = featureMaps.flatMap((map) =>
    readers(map).flatMap((a, i) =>
      readers(map)
        .slice(i + 1)
        .map((b) => ({
          gradient: map.gradient,
          weights: [a.symbol, b.symbol] satisfies [string, string],
          across: a.side !== b.side,
        })),
    ),
  );
  const extra = featureMaps.map((map) => ({ map, copies: Math.max(0, readers(map).length - 1) }));
  const end = featureMaps.at(-1)?.symbol;
  const routes = (symbol: string): number[] => {
    if (symbol === end) return [0];
    const next = weights.filter((weight) => weight.sources.includes(symbol));
    return next.flatMap((weight) => routes(weight.output).map((length) => length + 1));
  };
  return {
    reuse,
    duplicates: {
      total: extra.reduce((sum, { copies }) => sum + copies, 0),
      weightedByChannels: extra.reduce((sum, { map, copies }) => sum + copies * map.channels, 0),
      acrossSides: pairs.filter((pair) => pair.across).length,
      pairs,
    },
    paths: featureMaps.map((map) => {
      const lengths = routes(map.symbol);
      return {
        featureMap: map.symbol,
        count: String(lengths.length),
        shortest: Math.min(...lengths),
        longest: Math.max(...lengths),
      };
    }),
    duplicateBytes: extra.reduce(
      (sum, { map, copies }) => sum + 4 * copies * map.channels * map.height * map.width,
      0,
    ),
  };
}

function stageEquations({ weights, featureMaps }: ReportStructure, s: number): ReportStage["equations"] {
  const gradient = (symbol: string) => featureMaps.find((map) => map.symbol === symbol)?.gradient ?? symbol;
  const reads = ({ sources }: ReportWeight) =>
    sources.length === 1 ? sources.join("") : `[${sources.join(", ")}]`;
  const forward = weights.map((weight) => `${weight.output} = ${weight.symbol} * ${reads(weight)}`);
  const update = weights.map(
    (weight) => `${weight.symbol}' = f(${[weight.symbol, ...weight.sources.map(gradient)].join(", ")})`,
  );
  const latex = (line: string) => line.replaceAll("*", "\\ast");
  return {
    forward,
    update,
    forwardLatex: forward.map(latex),
    updateLatex: update.map(latex),
    legend: [
      ...weights.map((weight) => ({ symbol: weight.symbol, meaning: weight.modulePath })),
      { symbol: featureMaps[0]?.symbol ?? "x_0", meaning: `input of features.stage${s + 1}` },
    ],
  };
}
