/** A report built from a short real training: it can be read and drawn, and its numbers are those of their sources. */
import { describe, expect, it } from "vitest";
import { crossEntropy, globalAvgPool2d, reshape } from "../src/autograd/index.ts";
import {
  analyzeStage,
  buildReport,
  duplicatePairs,
  GradientRecorder,
  type GradientReuseReport,
  type MeasuredVariant,
  parseReport,
  type ReportMeta,
  renderHtml,
  renderTerminal,
  type StageSelection,
  serializeReport,
  stageEquations,
  stageStructure,
} from "../src/gradflow/index.ts";
import { cost, trace } from "../src/graph/index.ts";
import { type CspStage, cspDenseNet, densenet } from "../src/models/index.ts";
import { Conv2d, Module } from "../src/nn/index.ts";
import { SGD } from "../src/nn/optim/index.ts";
import { randn, tensor, zeros } from "../src/tensor/create.ts";
import { Generator, manualSeed } from "../src/tensor/generator.ts";
import { scope } from "../src/tensor/scope.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { cspAround, ResidualBlock, SqueezeExcitation } from "./support/userStages.ts";

const sizes = {
  blocks: [3, 2],
  growthRate: 3,
  stem: "small",
  stemChannels: 6,
  inChannels: 1,
  classes: 3,
} as const;
const imageShape = [1, 12, 12];
const steps = 5;

const meta: ReportMeta = {
  title: "Gradient reuse",
  createdAt: "2019-11-27T12:00:00.000Z",
  seed: 3,
  dataset: { name: "noise", trainImages: 20, testImages: 8 },
  command: "npx vitest",
  versions: { gradweave: "0.1.0", node: "v20.0.0" },
  machine: { cpu: "any", threads: 1 },
  finished: true,
  sampling: { everySteps: 2, imagesPerSample: 4, overheadFraction: null },
  settings: { epochs: 1 },
};

type Trained = Omit<MeasuredVariant, "recorder"> & { readonly recorder: GradientRecorder };

/** Trains for a few steps on noise. */
async function train(
  name: string,
  model: Module,
  stages: readonly StageSelection[],
  dtype: "f32" | "f64" = "f32",
): Promise<Trained> {
  model.to(dtype).train();
  const recorder = new GradientRecorder(model, stages, { everySteps: 2 });
  const optimizer = new SGD(model.parameters(), { lr: 0.05 });
  const losses = Array.from({ length: steps }, (_, step) =>
    scope(() => {
      const images = randn([4, ...imageShape], { dtype, generator: new Generator(step) });
      optimizer.zeroGrad();
      const loss = recorder.step(step, images, () => {
        const value = crossEntropy(model.forward(images), tensor([0, 1, 2, 1], { dtype: "i32" }));
        value.backward();
        return value;
      });
      optimizer.step();
      return loss.itemSync();
    }),
  );
  await recorder.flush();
  return {
    name,
    description: `a small ${name}`,
    architecture: { blocks: [3, 2], growthRate: 3 },
    model,
    stages,
    imageShape,
    recorder,
    training: {
      accuracy: { test: 6 / 8, train: null, testImages: 8, correct: 6 },
      curves: {
        step: losses.map((_, i) => i),
        loss: losses,
        trainAccuracy: losses.map(() => null),
        evaluations: [],
      },
      peakBytes: 123_456,
      stepMilliseconds: 7.5,
      imagesPerSecond: null,
    },
  };
}

/** A stage that nobody has described to the instrument: residual blocks and a gate, cross-stage-partial. */
class UserNetwork extends Module {
  readonly stem = new Conv2d(1, 8, 3, { stride: 2 });
  readonly stage: CspStage = cspAround((c) => ({
    links: [new ResidualBlock(c), new SqueezeExcitation(c)],
    outChannels: c,
  }));
  readonly head: Conv2d;

  constructor() {
    super();
    this.head = new Conv2d(this.stage.outChannels, 3, 1);
  }

  override forward(x: Tensor): Tensor {
    const pooled = globalAvgPool2d(this.head.forward(this.stage.forward(this.stem.forward(x))));
    return reshape(pooled, [pooled.shape[0], 3]);
  }
}

function variants(): Promise<Trained[]> {
  manualSeed(4);
  const networks = [
    ["DenseNet", densenet(sizes)],
    ...(["both", "first", "last"] as const).map(
      (fusion) => [`CSP ${fusion}`, cspDenseNet({ ...sizes, fusion })] as const,
    ),
  ] as const;
  return Promise.all([
    ...networks.map(([name, network]) => train(name, network, network.stages)),
    train("my own", new UserNetwork(), [{ name: "stage 1", paths: ["stage"] }]),
  ]);
}

describe("buildReport", async () => {
  const trained = await variants();
  const report = buildReport(meta, trained, [
    { path: "variants[0].cost.imagesPerSecond", reason: "not timed" },
  ]);

  it("makes a report that can be written, read, and drawn", () => {
    const read = parseReport(serializeReport(report));
    expect(read).toEqual(report);
    const text = renderTerminal(read, { columns: 100, color: false });
    const page = renderHtml(read);
    for (const { name } of trained) {
      expect(text).toContain(name);
      expect(page).toContain(name);
    }
    expect(text).toContain("x_U = w_U * [x_0', x_T]");
  });

  it("states the cost, equations and structure of the trained network", () => {
    report.variants.forEach((variant, i) => {
      const { model, stages, training } = trained[i];
      const traced = trace(model, zeros([1, ...imageShape]));
      const { parameters, flopsPerImage, convInputOutput } = cost(traced);
      expect(variant.cost).toEqual({
        ...{ parameters, flopsPerImage, convInputOutput },
        ...{ peakBytes: 123_456, stepMilliseconds: 7.5, imagesPerSecond: null },
      });
      expect([variant.accuracy, variant.curves]).toEqual([training.accuracy, training.curves]);
      variant.stages.forEach(({ equations, structure }, s) => {
        const stage = analyzeStage(traced, stages[s]);
        const counted = stageStructure(stage);
        expect(equations).toEqual(stageEquations(stage));
        expect(structure.weights.map(({ symbol, output }) => [symbol, output])).toEqual(
          stage.layers.map(({ name }) => [`w_${name}`, `x_${name}`]),
        );
        expect(structure.duplicates).toMatchObject({
          total: counted.duplicates,
          weightedByChannels: counted.duplicatesByChannels,
          acrossSides: counted.duplicatesAcross,
        });
        expect(structure.duplicates.pairs.length).toBe(duplicatePairs(stage, counted.reuse).length);
        expect(structure.duplicateBytes).toBe(counted.duplicateBytes);
        expect(structure.paths.map(({ count, shortest, longest }) => [count, shortest, longest])).toEqual(
          counted.paths.map(({ count, shortest, longest }) => [String(count), shortest, longest]),
        );
        expect(structure.reuse.map(({ count }) => count)).toEqual(
          counted.reuse.map(({ weights }) => weights.length),
        );
      });
    });
  });

  it("holds every sample, under symbols that the stage declares", () => {
    report.variants.forEach(({ name, stages }, i) => {
      const measured = trained[i].recorder.measured();
      stages.forEach((stage, s) => {
        const { maps, sides } = measured[s];
        expect(stage.measured).toEqual(
          maps.map(({ map, consumers, samples }) => ({ featureMap: `x_${map}`, consumers, samples })),
        );
        expect(stage.sides?.samples ?? null).toEqual(sides);
        expect(sides === null, name).toBe(name === "DenseNet");
        expect(maps.length).toBeGreaterThan(0);
        const declared = [...stage.structure.weights.map(({ symbol }) => symbol), "out"];
        for (const { consumers, samples } of maps) {
          for (const consumer of consumers)
            for (const part of consumer.split("+")) expect(declared).toContain(part);
          expect(samples.map(({ step }) => step)).toEqual([0, 2, 4]);
        }
      });
    });
  });

  it("compares the variants in the order they were given", () => {
    const row = (measure: string) => report.comparison.find((entry) => entry.measure === measure)?.values;
    expect(row("Parameters")).toEqual(trained.map(({ model }) => model.parameterCount()));
    // Σ k(k+1)/2 over stages of 3 and 2 layers; DenseNet's last stage has no transition.
    expect(row("Duplicated gradient uses")?.slice(0, 4)).toEqual([6 + 1, 6 + 3, 6 + 3, 6 + 3]);
    expect(row("Duplicates across the sides")?.slice(0, 4)).toEqual([0, 0, 3 + 2, 0]);
    expect(row("Most gradient paths to one map")?.slice(0, 4)).toEqual([8, 8, 8, 8]);
    expect(row("Test accuracy")).toEqual([0.75, 0.75, 0.75, 0.75, 0.75]);
    expect(row("Throughput")).toBeUndefined();
    const correlations = trained[1].recorder
      .measured()
      .flatMap(({ sides }) => sides?.map(({ correlation }) => correlation ?? NaN) ?? []);
    const mean = correlations.reduce((sum, value) => sum + value, 0) / correlations.length;
    expect(row("Correlation between the sides")?.[0]).toBeNull();
    expect(row("Correlation between the sides")?.[1]).toBeCloseTo(mean, 12);
    const spread =
      correlations.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (correlations.length - 1);
    const [low, high] =
      report.comparison.find(({ measure }) => measure === "Correlation between the sides")?.intervals?.[1] ??
      [];
    const half = 1.96 * Math.sqrt(spread / correlations.length);
    expect(low).toBeCloseTo(mean - half, 12);
    expect(high).toBeCloseTo(mean + half, 12);
  });

  it("builds the structure alone when nothing was sampled, and a network without stages too", () => {
    const [dense] = trained;
    const bare: GradientReuseReport = buildReport(meta, [
      { ...dense, recorder: null },
      { ...dense, name: "no stages", stages: [], recorder: null },
    ]);
    expect(bare.variants[0].stages.map(({ measured, sides }) => [measured, sides])).toEqual([
      [[], undefined],
      [[], undefined],
    ]);
    expect(parseReport(serializeReport(bare)).comparison.map(({ measure }) => measure)).not.toContain(
      "Cosine between pieces",
    );
    expect(renderTerminal(bare, { columns: 80, color: true })).toContain("no stages");
  });

  it("takes a network in f64", async () => {
    const network = densenet(sizes);
    const double = buildReport(meta, [await train("double", network, network.stages, "f64")]);
    expect(parseReport(serializeReport(double)).variants[0].cost.parameters).toBe(network.parameterCount());
  });
});
