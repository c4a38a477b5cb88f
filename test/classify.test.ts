/** What photographs are taken for: crops, averaged probabilities, evaluation, weights that know their network. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  centreCrop,
  networkInput,
  type Photograph,
  PhotographLoader,
  type PhotographSource,
  resizeShorterSide,
  tenCrop,
} from "../src/data/index.ts";
import { manualSeed, noGrad, tensor } from "../src/index.ts";
import { saveSafetensors } from "../src/io/index.ts";
import type { Network } from "../src/models/index.ts";
import {
  buildModel,
  classifyPhotographs,
  describeWeights,
  evaluate,
  evaluateCrops,
  loadWeights,
  topClasses,
  weightsMetadata,
} from "../src/train/index.ts";

const root = resolve(import.meta.dirname, "..");
const folder = mkdtempSync(join(tmpdir(), "gradweave-classify-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const modelOptions = { growthRate: 8, blocks: [1, 1, 1, 1], stemChannels: 8 };
const build = (classes = 6): Network => {
  manualSeed(2);
  return buildModel("peleenet", modelOptions, classes).eval();
};
const photographOf = (seed: number, width = 50, height = 41): Photograph => ({
  width,
  height,
  pixels: Uint8Array.from(
    { length: 3 * width * height },
    (_, i) => ((i % 173) * (seed + 3) + (i >> 5)) % 256,
  ),
});

/** Softmax of the logits of one image, with plain numbers. */
function probabilitiesOf(model: Network, input: Float32Array, side: number): number[] {
  const logits = noGrad(() => model.forward(tensor(input, { shape: [1, 3, side, side] })));
  const values = Array.from(logits.dataSync(), Number);
  const powers = values.map((value) => Math.exp(value - Math.max(...values)));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}

describe("classifyPhotographs", () => {
  const normalisation = { mean: [0.4, 0.5, 0.6], std: [0.2, 0.3, 0.4] };
  const photographs = [photographOf(1), photographOf(2, 38, 60), photographOf(3)];

  it("reads the middle of each photograph", async () => {
    const model = build();
    const results = await classifyPhotographs(model, photographs, { side: 32, resize: 36, ...normalisation });
    for (const [i, photograph] of photographs.entries()) {
      const crop = centreCrop(resizeShorterSide(photograph, 36), 32);
      const expected = probabilitiesOf(model, networkInput(crop, normalisation), 32);
      expect(results[i]).toHaveLength(6);
      expected.forEach((value, c) => void expect(results[i][c]).toBeCloseTo(value, 5));
    }
    expect(await classifyPhotographs(model, [], { side: 32 })).toEqual([]);
  });

  it("averages the probabilities of ten crops, of 8/7 of the side", async () => {
    const model = build();
    const results = await classifyPhotographs(model, photographs, { side: 35, crops: 10, ...normalisation });
    for (const [i, photograph] of photographs.entries()) {
      const crops = tenCrop(resizeShorterSide(photograph, 40), 35);
      const each = crops.map((crop) => probabilitiesOf(model, networkInput(crop, normalisation), 35));
      for (let c = 0; c < 6; c++)
        expect(results[i][c]).toBeCloseTo(each.reduce((sum, one) => sum + one[c], 0) / 10, 5);
    }
  });

  it("refuses a model in training mode, and crops larger than the image", async () => {
    await expect(classifyPhotographs(build().train(), photographs, { side: 32 })).rejects.toThrow("eval()");
    await expect(classifyPhotographs(build(), photographs, { side: 32, resize: 31 })).rejects.toThrow(
      "resize 31 must be at least the side 32",
    );
  });

  it("has its largest probabilities first, equal ones in their order", () => {
    expect(topClasses([0.1, 0.4, 0.1, 0.4], 3).map(({ index }) => index)).toEqual([1, 3, 0]);
    expect(topClasses([1], 5)).toEqual([{ index: 0, probability: 1 }]);
  });
});

describe("evaluateCrops", () => {
  const source: PhotographSource = {
    ...{ name: "set", count: 7, classes: ["a", "b", "c", "d", "e", "f"], labels: [0, 1, 2, 3, 4, 5, 0] },
    read: async (index) => photographOf(index),
  };

  it("with one crop is what evaluate says, whatever the batches", async () => {
    const model = build();
    const expected = await evaluate(model, new PhotographLoader(source, { batchSize: 7, side: 32 }));
    for (const batchSize of [1, 3, 20]) {
      const done: number[] = [];
      const found = await evaluateCrops(model, source, {
        ...{ side: 32, batchSize, onProgress: (images: number) => done.push(images) },
      });
      expect([found.images, found.correct, done.at(-1)]).toEqual([7, expected.correct, 7]);
      expect(found.loss).toBeCloseTo(expected.loss, 4);
      expect(found.topFive).toBeGreaterThanOrEqual(found.accuracy);
    }
  });

  it("counts by the averaged probabilities of ten crops, and stops where it is told to", async () => {
    const model = build();
    const options = { side: 32, crops: 10 } as const;
    const found = await evaluateCrops(model, source, { ...options, batchSize: 2 });
    const photographs = await Promise.all(Array.from({ length: 7 }, (_, i) => source.read(i)));
    const each = await classifyPhotographs(model, photographs, options);
    const ranks = each.map((row, i) =>
      topClasses(row, 6).findIndex(({ index }) => index === source.labels[i]),
    );
    expect(found.correct).toBe(ranks.filter((rank) => rank === 0).length);
    expect(found.topFive).toBeCloseTo(ranks.filter((rank) => rank < 5).length / 7, 10);
    const stopped = await evaluateCrops(model, source, { ...options, signal: AbortSignal.abort() });
    expect(stopped.images).toBe(0);
  });
});

describe("a model from options", () => {
  it("names the nearest models, the options there are, and what kind a value must be", () => {
    expect(() => buildModel("resnet50", {})).toThrow(/--model: .*"resnet50"; the nearest are resnet-50/);
    expect(() => buildModel("peleenet", { growth: 3 })).toThrow("has no option growth");
    expect(() => buildModel("peleenet", { growthRate: "wide" })).toThrow(
      'growthRate of peleenet must be a number, such as 32; got "wide"',
    );
    expect(() => buildModel("peleenet", { blocks: ["a"] })).toThrow("must be a list of numbers");
    expect(buildModel("resnet-10", {}, 7).classes).toBe(7);
  });
});

describe("weights", () => {
  const path = join(folder, "weights.safetensors");
  const described = {
    ...{ model: "peleenet", modelOptions, imageSize: 32 },
    classes: ["ant", "bee", "cat", "dog", "eel", "fox"],
  };
  beforeAll(() => saveSafetensors(path, build().stateDict(), weightsMetadata(described)));

  it("say what network they belong to, and fill it", async () => {
    expect(await describeWeights(path)).toEqual(described);
    const other = buildModel("peleenet", modelOptions, 6);
    await loadWeights(other, path);
    expect(other.classifier.weight.toArraySync()).toEqual(build().classifier.weight.toArraySync());
    const plain = join(folder, "plain.safetensors");
    await saveSafetensors(plain, build().stateDict(), { format: "pt", model: "peleenet", classes: "[3" });
    expect(await describeWeights(plain)).toBeNull();
  });

  it("of another network, and files that are missing, are refused", async () => {
    await expect(loadWeights(buildModel("peleenet", modelOptions, 5), path)).rejects.toThrow(
      /classifier.*is \[6, .*the model has \[5, [\s\S]*--model that this file belongs to/,
    );
    await expect(describeWeights(join(folder, "none"))).rejects.toThrow("none: does not exist");
  });

  describe("examples/classify.ts", () => {
    const photo = join(folder, "photo.jpg");
    beforeAll(async () => {
      const { width, height, pixels } = photographOf(4);
      const image = sharp(pixels, { raw: { width, height, channels: 3 } });
      writeFileSync(photo, await image.png().toBuffer());
    });
    const run = (...args: string[]) => {
      const script = join(root, "examples/classify.ts");
      const env = { ...process.env, GRADWEAVE_THREADS: "1" };
      const result = spawnSync(process.execPath, ["--import", "tsx", script, ...args], {
        encoding: "utf8",
        env,
      });
      return { code: result.status, stdout: result.stdout, stderr: result.stderr };
    };

    it("gives the classes of our weights, as the functions do", async () => {
      const { code, stdout, stderr } = run(photo, "--weights", path, "--top", "2", "--crops", "10", "--json");
      expect([code, stderr]).toEqual([0, ""]);
      const [expected] = await classifyPhotographs(build(), [photographOf(4)], { side: 32, crops: 10 });
      const [first, second] = topClasses(expected, 2);
      const { model, results } = JSON.parse(stdout);
      expect([model, results[0].classes.length]).toEqual(["peleenet", 2]);
      for (const [i, { index, probability }] of [first, second].entries()) {
        expect(results[0].classes[i]).toMatchObject({ index, class: described.classes[index] });
        expect(results[0].classes[i].probability).toBeCloseTo(probability, 4);
      }
    });

    it("says that random weights mean nothing, takes names, and names what is no image", () => {
      const names = join(folder, "names.txt");
      const noise = join(folder, "noise.jpg");
      writeFileSync(names, "red\r\ngreen\n\n");
      writeFileSync(noise, "nothing");
      const options = ["--model-options", JSON.stringify(modelOptions), "--image-size", "32"];
      const { code, stdout, stderr } = run(
        photo,
        noise,
        "--model",
        "peleenet",
        ...options,
        "--classes",
        names,
      );
      expect(code).toBe(3);
      expect(stdout).toMatch(
        /photo\.jpg \(50 x 41, \d+ ms\)\n +[\d.]+ % +(red|green)\n +[\d.]+ % +(red|green)\n$/,
      );
      expect(stderr).toContain("random weights without --weights");
      expect(stderr).toContain("noise.jpg: cannot be decoded as an image");
    });

    it("refuses the weights of another network, without a stack", () => {
      const { code, stdout, stderr } = run(photo, "--model", "resnet-10", "--weights", path);
      expect([code, stdout]).toEqual([3, ""]);
      expect(stderr).toContain("0 tensors would");
      expect(stderr).not.toMatch(/^ +at /m);
    });
  });
});
