/** The recorder's other figures: weight gradients, stage means, gaps where gradients are no numbers. */
import { describe, expect, it } from "vitest";
import { crossEntropy, onEdge } from "../src/autograd/index.ts";
import {
  buildReport,
  debiasedCka,
  GradientRecorder,
  linearCka,
  serializeReport,
} from "../src/gradflow/index.ts";
import { cspDenseNet, type DenseNet, densenet } from "../src/models/index.ts";
import { randn, tensor } from "../src/tensor/create.ts";
import { Generator, manualSeed } from "../src/tensor/generator.ts";
import type { Tensor } from "../src/tensor/tensor.ts";

const sizes = {
  blocks: [3, 2],
  growthRate: 4,
  bottleneckWidth: 2,
  stem: "small",
  stemChannels: 8,
  inChannels: 1,
  classes: 3,
} as const;
const images = () => randn([4, 1, 12, 12], { dtype: "f64", generator: new Generator(1) });
const labels = () => tensor([0, 1, 2, 1], { dtype: "i32" });

function seeded(build: () => DenseNet): DenseNet {
  manualSeed(11);
  const network = build().train();
  network.to("f64");
  return network;
}

async function sampled(network: DenseNet, batch: Tensor, detail?: "maps" | "stages") {
  const recorder = new GradientRecorder(network, network.stages, detail ? { detail } : {});
  const pass = () => crossEntropy(network.forward(batch), labels()).backward();
  recorder.step(0, batch, pass);
  await recorder.flush();
  return recorder.measured();
}

/** The kernel over input channels `from` to `to` of a convolution weight's gradient, by plain loops. */
function plainKernel(weight: Tensor, from: number, to: number): number[][] {
  const [outputs, inputs, ...window] = weight.shape;
  const area = window.reduce((product, n) => product * n, 1);
  const values = weight.grad?.dataSync() ?? [];
  const row = (channel: number) =>
    Array.from(
      { length: outputs * area },
      (_, i) => values[(Math.floor(i / area) * inputs + channel) * area + (i % area)],
    );
  const rows = Array.from({ length: to - from }, (_, i) => row(from + i));
  return rows.map((a) => rows.map((b) => a.reduce((sum, value, i) => sum + value * b[i], 0)));
}

describe("CKA between weight gradients", () => {
  it("compares the slices of two weights that read the same map", async () => {
    const network = seeded(() => densenet(sizes));
    const [stage] = await sampled(network, images());
    const weight = (name: string) => network.namedParameters().get(`features.${name}.weight`);
    const [w1, w2, w3, wT] = [
      weight("denseblock1.denselayer1.conv1"),
      weight("denseblock1.denselayer2.conv1"),
      weight("denseblock1.denselayer3.conv1"),
      weight("transition1.conv"),
    ];
    if (!w1 || !w2 || !w3 || !wT) throw new Error("the network has other names");
    // x_0 has channels 0 to 7 of every weight, x_1 channels 8 to 11.
    const kernels = (from: number, to: number, list: Tensor[]) => list.map((w) => plainKernel(w, from, to));
    const expected = [
      { map: "0", of: kernels(0, 8, [w1, w2, w3, wT]) },
      { map: "1", of: kernels(8, 12, [w2, w3, wT]) },
    ];
    for (const { map, of } of expected) {
      const found = stage.maps.find((entry) => entry.map === map)?.samples[0].weightCka ?? [];
      expect(found.length).toBe(of.length);
      of.forEach((k, a) => {
        of.forEach((l, b) => {
          expect(found[a][b]).toBeCloseTo(debiasedCka(k, l) ?? NaN, 9);
        });
      });
      // Not the biased estimate, which so few channels push towards 1.
      expect(Math.abs((found[0][1] ?? NaN) - (linearCka(of[0], of[1]) ?? NaN))).toBeGreaterThan(1e-3);
    }
  });

  it("has none where the map leaves the stage, or has fewer than four channels", async () => {
    const stages = await sampled(
      seeded(() => densenet({ ...sizes, growthRate: 3 })),
      images(),
    );
    const last = stages[1].maps.find(({ map }) => map === "0");
    expect(last?.consumers).toEqual(["w_1", "w_2", "out"]);
    const [first, second, out] = last?.samples[0].weightCka ?? [];
    expect([first[2], second[2], out[0], out[1], out[2]]).toEqual([null, null, null, null, null]);
    expect(first[1]).not.toBeNull();
    const narrow = stages[0].maps.find(({ map }) => map === "1")?.samples[0];
    expect(narrow?.weightCka.flat().every((value) => value === null)).toBe(true);
    expect(narrow?.cosine[0][1]).not.toBeNull();
    expect(narrow?.gap).toBeUndefined();
  });
});

describe("stage figures", () => {
  it("are the means over maps, kept alone when only stages are sampled", async () => {
    const [maps, stages] = await Promise.all(
      (["maps", "stages"] as const).map((detail) =>
        sampled(
          seeded(() => cspDenseNet(sizes)),
          images(),
          detail,
        ),
      ),
    );
    stages.forEach((stage, i) => {
      expect(stage.maps).toEqual([]);
      expect(stage.samples).toEqual(maps[i].samples);
      const all = maps[i].maps.map(({ samples: [sample] }) => sample);
      const cosines = all.map(({ cosine }) => {
        const pairs = cosine.flatMap((row, a) => row.slice(a + 1).map((value) => value ?? NaN));
        return pairs.reduce((sum, value) => sum + value, 0) / pairs.length;
      });
      const mean = cosines.reduce((sum, value) => sum + value, 0) / cosines.length;
      expect(stage.samples[0].cosine).toBeCloseTo(mean, 12);
      const meanOver = (figure: (sample: (typeof all)[number]) => number | null) =>
        all.reduce((sum, sample) => sum + (figure(sample) ?? NaN), 0) / all.length;
      expect(stage.samples[0].energyRatio).toBeCloseTo(
        meanOver(({ sharedEnergy, norms }) => (sharedEnergy ?? NaN) * norms.length),
        12,
      );
      expect(stage.samples[0].rankShare).toBeCloseTo(
        meanOver(({ effectiveRank, norms }) => (effectiveRank ?? NaN) / norms.length),
        12,
      );
      expect(stage.summaries.cosine).toMatchObject({ count: 1, missing: 0, mean: stage.samples[0].cosine });
      const energy = all
        .flatMap(({ norms }) => norms)
        .reduce<number>((sum, norm) => sum + (norm ?? NaN) ** 2, 0);
      expect(stage.samples[0].norm).toBeCloseTo(Math.sqrt(energy), 12);
      expect(stage.samples[0].sideCka).toBe(maps[i].sides?.[0].cka);
      expect(stage.samples[0].sideCka).not.toBeNull();
    });
  });
});

describe("gradients that are no numbers", () => {
  it("leave a marked gap, and the figures of other steps alone", async () => {
    const network = seeded(() => cspDenseNet(sizes));
    const recorder = new GradientRecorder(network, network.stages, { everySteps: 1 });
    const step = (number: number) => {
      const batch = images();
      recorder.step(number, batch, () => crossEntropy(network.forward(batch), labels()).backward());
    };
    step(0);
    const spoil = onEdge(({ gradient }) => gradient.mul(NaN));
    step(1);
    spoil();
    step(2);
    await recorder.flush();
    const report = buildReport(
      {
        ...{ title: "gaps", createdAt: "2019-11-27T12:00:00.000Z", seed: 0, command: "npx vitest" },
        dataset: { name: "noise", trainImages: 4, testImages: 0 },
        versions: { gradweave: "0.1.0", node: "v20.0.0" },
        machine: { cpu: "any", threads: 1 },
        finished: true,
        sampling: { everySteps: 1, imagesPerSample: 4, overheadFraction: null },
        settings: {},
      },
      [
        {
          ...{ name: "CSP", description: "", architecture: { blocks: [3, 2], growthRate: 4 } },
          ...{ model: network, stages: network.stages, imageShape: [1, 12, 12], recorder },
          training: {
            accuracy: { test: null, train: null, testImages: 0, correct: null },
            curves: { step: [], loss: [], trainAccuracy: [], evaluations: [] },
            ...{ peakBytes: null, stepMilliseconds: null, imagesPerSecond: null },
          },
        },
      ],
    );
    serializeReport(report);
    const gaps = report.gaps.filter(({ reason }) => reason.includes("not finite"));
    const measured = recorder.measured();
    const samples = measured.reduce((sum, { maps }) => sum + maps.length, 0);
    expect(gaps.length).toBe(samples + 2);
    expect(gaps[0]).toEqual({
      path: "variants[0].stages[0].measured[0].samples[1]",
      reason: "step 1: a gradient was not finite: NaN, infinite, or too large to square",
    });
    for (const { maps, sides, summaries } of measured) {
      expect(summaries.cosine).toMatchObject({ count: 2, missing: 1 });
      expect(sides?.map(({ correlation, gap }) => [correlation === null, gap !== undefined])).toEqual([
        [false, false],
        [true, true],
        [false, false],
      ]);
      for (const {
        samples: [first, spoilt, last],
      } of maps) {
        expect(spoilt).toMatchObject({ sharedEnergy: null, effectiveRank: null, firstDirectionShare: null });
        expect(spoilt.norms.every((norm) => norm === null)).toBe(true);
        expect(spoilt.cosine.flat().every((value) => value === null)).toBe(true);
        expect([first, last].every(({ sharedEnergy }) => sharedEnergy !== null)).toBe(true);
      }
    }
  });
});
