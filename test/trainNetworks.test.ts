/** Training any network: the paper's recipe, a state on disk that goes on after any interruption, and the command. */
import { type ChildProcess, spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { greyPhotographs, PhotographLoader } from "../src/data/index.ts";
import { manualSeed, nn, tensor } from "../src/index.ts";
import { createModel, listModels } from "../src/models/index.ts";
import { findTraining, paperRecipe, saveTraining, TrainingRun, trainSteps } from "../src/train/index.ts";

const root = resolve(import.meta.dirname, "..");
let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "gradweave-train-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const newFolder = (): string => mkdtempSync(join(folder, "run-"));

describe("the paper's recipe", () => {
  const weight = () => new nn.Parameter(tensor([1]));

  it("rises over 1000 of 800,000 steps and falls with the fourth power", () => {
    const { optimizer, schedule } = paperRecipe([weight()], { steps: 800_000 });
    expect(optimizer.options).toMatchObject({ lr: 0.1, momentum: 0.9, weightDecay: 0.0005 });
    expect(schedule(0)).toBeCloseTo(1e-12, 20);
    expect(schedule(499)).toBeCloseTo(1 / 16, 9);
    expect(schedule(399_999)).toBeCloseTo(1 / 16, 5);
    expect(schedule(799_999)).toBeGreaterThan(0);
  });

  it("is never 0 in a training of a few steps", () => {
    for (const steps of [1, 2, 3, 19, 30]) {
      const { schedule } = paperRecipe([weight()], { steps });
      for (let step = 0; step < steps; step++) expect(schedule(step)).toBeGreaterThan(0);
    }
  });
});

describe("a training on disk", () => {
  const steps = 7;
  /** Five grey images of 8 x 8 in three classes; three batches of an epoch are never all of them. */
  const images = greyPhotographs({
    ...{ name: "noise", count: 7, channels: 1, width: 8, height: 8, classes: ["a", "b", "c"] },
    images: Uint8Array.from({ length: 7 * 64 }, (_, i) => (i * i * 31) % 251),
    labels: Uint8Array.of(0, 1, 2, 0, 1, 2, 0),
  });
  const start = () => {
    manualSeed(6);
    // Dropout draws from the default generator, whose state must come along.
    const size = { growthRate: 8, blocks: [1, 1, 1, 1], stemChannels: 8, dropout: 0.5, classes: 3 };
    const model = createModel("peleenet", size);
    return { model, ...paperRecipe(model.parameters(), { steps, lr: 0.05 }) };
  };
  const loader = () =>
    new PhotographLoader(images, { batchSize: 2, side: 32, shuffle: true, seed: 1, dropLast: true });
  const stateOf = (model: nn.Module) =>
    [...model.stateDict()].map(([name, tensor]) => [name, tensor.toArraySync()]);
  const losses = (run: TrainingRun) => run.records.map(({ loss }) => loss);

  it("goes on from any step with the same numbers, and keeps no old files", async () => {
    const whole = start();
    const wholeRun = new TrainingRun({ name: "whole", ...whole });
    const out = newFolder();
    await trainSteps(wholeRun, loader(), { steps });
    expect(await findTraining(out)).toBeNull();
    for (let stop = 2; stop < steps; stop += 2) {
      const part = start();
      const found = await findTraining(out);
      await found?.restore(part.model, part.optimizer);
      const run = new TrainingRun({ name: "part", ...part, records: found?.records ?? [] });
      expect(run.records).toHaveLength(stop - 2);
      await trainSteps(run, loader(), { steps: stop });
      await saveTraining(out, { settings: { lr: 0.05 }, records: run.records, ...part });
    }
    // What a save that was killed leaves behind.
    writeFileSync(join(out, "weights-7.safetensors"), "half");
    const last = start();
    const found = await findTraining(out);
    expect(found?.settings).toEqual({ lr: 0.05 });
    await found?.restore(last.model, last.optimizer);
    const run = new TrainingRun({ name: "last", ...last, records: found?.records ?? [] });
    await trainSteps(run, loader(), { steps });
    expect(losses(run)).toEqual(losses(wholeRun));
    expect(stateOf(last.model)).toEqual(stateOf(whole.model));
    expect(run.records.map(({ learningRate }) => learningRate)).toEqual(
      wholeRun.records.map(({ learningRate }) => learningRate),
    );
    await saveTraining(out, { settings: {}, records: run.records, ...last });
    expect(readdirSync(out).sort()).toEqual([
      "optimizer-7.safetensors",
      "training.json",
      "weights-7.safetensors",
    ]);
  });

  it("is refused where it is damaged or of another network", async () => {
    const out = newFolder();
    const { model, optimizer } = start();
    await saveTraining(out, { settings: {}, records: [], model, optimizer });
    const found = await findTraining(out);
    const other = createModel("peleenet", {
      growthRate: 16,
      blocks: [1, 1, 1, 1],
      stemChannels: 8,
      classes: 3,
    });
    const { optimizer: others } = paperRecipe(other.parameters(), { steps });
    await expect(found?.restore(other, others)).rejects.toThrow("have another shape");
    const path = join(out, "training.json");
    const text = readFileSync(path, "utf8");
    writeFileSync(path, text.slice(0, -9));
    await expect(findTraining(out)).rejects.toThrow("training.json: is not JSON");
    writeFileSync(path, text.replace('"weights-0.safetensors"', '"../weights-0.safetensors"'));
    await expect(findTraining(out)).rejects.toThrow("no state of a training of this version: weights");
    writeFileSync(path, text);
    writeFileSync(join(out, "optimizer-0.safetensors"), "short");
    await expect((await findTraining(out))?.restore(model, optimizer)).rejects.toThrow(
      "optimizer-0.safetensors",
    );
  });

  it("needs batches", async () => {
    const few = new PhotographLoader(images, { batchSize: 8, side: 32, dropLast: true });
    const run = new TrainingRun({ name: "few", ...start() });
    await expect(trainSteps(run, few, { steps: 1 })).rejects.toThrow("7 images, too few for a batch of 8");
  });
});

interface Result {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function start(args: readonly string[], act?: (child: ChildProcess) => void): Promise<Result> {
  const child = spawn(process.execPath, ["--import", "tsx", join(root, "examples/train.ts"), ...args], {
    cwd: root,
    env: { ...process.env, GRADWEAVE_THREADS: "1" },
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
  });
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  act?.(child);
  return new Promise((done, fail) => {
    child.once("error", fail);
    child.once("close", (code) => done({ code, stdout, stderr }));
  });
}

describe("examples/train.ts", () => {
  const small = ["--model", "peleenet", "--model-options"];
  const size = JSON.stringify({ growthRate: 8, blocks: [1, 1, 1, 1], stemChannels: 8 });
  const narrow = [...small, size, "--image-size", "32", "--batch-size", "4"];
  let data = "";
  beforeAll(async () => {
    data = join(folder, "photos");
    for (const [label, name] of ["ant", "bee"].entries()) {
      mkdirSync(join(data, name), { recursive: true });
      for (let i = 0; i < 5; i++) {
        const pixels = Uint8Array.from(
          { length: 40 * 36 * 3 },
          (_, at) => ((at * (i + 3)) % 97) + 120 * label,
        );
        const image = sharp(pixels, { raw: { width: 40, height: 36, channels: 3 } });
        writeFileSync(join(data, name, `${i}.png`), await image.png().toBuffer());
      }
    }
  });

  it("killed and resumed ends with the weights of a training that was not", async () => {
    const [whole, killed] = [newFolder(), newFolder()];
    const args = [...narrow, "--data", data, "--steps", "30", "--save-every", "1", "--json"];
    const uninterrupted = start([...args, "--out", whole]);
    const first = await start([...args, "--out", killed], (child) => {
      const timer = setInterval(() => {
        if (existsSync(join(killed, "training.json"))) child.kill("SIGKILL");
      }, 5);
      child.once("close", () => clearInterval(timer));
    });
    expect([first.code, first.stdout]).toEqual([null, ""]);
    // With --checkpoint, which changes no number.
    const resumed = await start(["--resume", killed, "--checkpoint", "--json"]);
    const expected = await uninterrupted;
    expect([expected.code, resumed.code], resumed.stderr).toEqual([0, 0]);
    const [a, b] = [JSON.parse(expected.stdout), JSON.parse(resumed.stdout)];
    expect(b.losses).toEqual(a.losses);
    expect(a).toMatchObject({ model: "peleenet", classes: ["ant", "bee"], imageSize: 32, finished: true });
    expect(a.losses).toHaveLength(30);
    expect(a.evaluation).toMatchObject({ images: 2, topFive: 1 });
    expect(a.memory.checkpointedBytes).toBeLessThan(a.memory.plainBytes);
    expect(a.peakBytes / a.memory.plainBytes).toBeCloseTo(1, 1);
    const file = (out: string) => readFileSync(join(out, "weights.safetensors"));
    expect(file(killed).equals(file(whole))).toBe(true);
    expect(expected.stderr).toMatch(/Memory at the peak of a step: about \d+ MB, with --checkpoint \d+ MB/);
    expect(expected.stderr).toMatch(/epoch 1\/15/);
    expect(resumed.stderr).toContain("Going on after step");

    const weights = join(whole, "weights.safetensors");
    const ten = await start([
      "--evaluate-only",
      "--weights",
      weights,
      "--data",
      data,
      "--crops",
      "10",
      "--json",
    ]);
    expect(JSON.parse(ten.stdout), ten.stderr).toMatchObject({ crops: 10, evaluation: { images: 2 } });
    const different = await start(["--resume", killed, "--lr", "0.2"]);
    expect(different.code).toBe(2);
    expect(different.stderr).toContain("--lr 0.2: the training in");
    rmSync(join(data, "ant", "4.png"));
    const fewer = await start(["--resume", killed]);
    expect([fewer.code, fewer.stderr]).toEqual([3, expect.stringContaining("began with 8; put them back")]);
  });

  it.concurrent.each<[string, () => string[], number, string[]]>([
    ["no such folder", () => ["--data", join(folder, "nowhere")], 3, ["nowhere: does not exist"]],
    ["a file that is no image", () => [...narrow, "--data", damaged()], 3, [".jpg: cannot be decoded"]],
    ["an unknown model", () => ["--model", "resnet50"], 2, ["resnet50", "resnet-50"]],
    ["images too small", () => [...narrow, "--data", data, "--image-size", "4"], 2, ["such images"]],
  ])("%s is an error", async (_, args, expected, parts) => {
    const out = join(newFolder(), "out");
    const { code, stdout, stderr } = await start([...args(), "--out", out]);
    expect([code, stdout], stderr).toEqual([expected, ""]);
    expect(stderr).toMatch(/^error: /m);
    for (const part of parts) expect(stderr).toContain(part);
    expect(stderr).not.toMatch(/^ +at /m);
    expect(existsSync(join(out, "weights.safetensors"))).toBe(false);
  });

  /** Images are decoded side by side, so any of these may be the first to fail. */
  const damaged = () => {
    const path = join(folder, "damaged");
    for (const name of ["ant", "bee"]) {
      mkdirSync(join(path, name), { recursive: true });
      for (let i = 0; i < 3; i++) writeFileSync(join(path, name, `bad${i}.jpg`), "no");
    }
    return path;
  };
});

describe("docs/training-memory.md", () => {
  it("has a row for every network", () => {
    const page = readFileSync(join(root, "docs/training-memory.md"), "utf8");
    const [table] = page.split("\n## ");
    const rows = [...table.matchAll(/^\| ([a-z][\w-]*\d?[\w-]*) \| [\d.]+ \|/gm)].map(([, name]) => name);
    expect(rows).toEqual(listModels());
  });
});
