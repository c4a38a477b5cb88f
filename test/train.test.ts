/** Training: what a run measures, that it leaks nothing, networks side by side, and a clean stop. */
import { describe, expect, it } from "vitest";
import { type Batch, DataLoader, type ImageDataset } from "../src/data/index.ts";
import { trainingMemory } from "../src/graph/index.ts";
import { Generator, manualSeed, memoryReport, optim, scope, type Tensor } from "../src/index.ts";
import { cspDenseNet, densenet } from "../src/models/index.ts";
import {
  DivergedError,
  evaluate,
  type StepRecord,
  samplingShare,
  stepTiming,
  TrainingRun,
  trainingFigures,
  trainingGaps,
  trainSideBySide,
} from "../src/train/index.ts";

/** Noise with a bright bar: standing for class 0, lying for class 1. */
function bars(count: number, seed: number, size = 8): ImageDataset {
  const images = new Uint8Array(count * size * size);
  const labels = Uint8Array.from({ length: count }, (_, i) => i % 2);
  const noise = new Float32Array(images.length);
  new Generator(seed).uniform(noise, 0, 100);
  for (const [at, value] of noise.entries()) {
    const [image, y, x] = [Math.floor(at / size ** 2), Math.floor(at / size) % size, at % size];
    images[at] = value + ([x, y][labels[image]] === size / 2 ? 1 : 0) * 150;
  }
  return { name: "bars", images, labels, count, channels: 1, height: size, width: size, classes: ["|", "-"] };
}

const sizes = {
  blocks: [2, 2],
  growthRate: 4,
  stemChannels: 6,
  stem: "small",
  inChannels: 1,
  classes: 2,
} as const;
const builders = { DenseNet: () => densenet(sizes), CSPDenseNet: () => cspDenseNet(sizes) };

function newRun(name: keyof typeof builders, lr = 0.05, more: Partial<{ instrument: Recorder }> = {}) {
  manualSeed(1);
  const model = builders[name]();
  const optimizer = new optim.SGD(model.parameters(), { lr, momentum: 0.9 });
  return new TrainingRun({ name, model, optimizer, ...more });
}

/** Notes which steps it was wrapped around. */
class Recorder {
  readonly seen: { step: number; shape: readonly number[] }[] = [];
  step<Result>(step: number, images: Tensor, body: () => Result): Result {
    this.seen.push({ step, shape: images.shape });
    return body();
  }
}

async function firstBatch(count: number): Promise<Batch> {
  const { value } = await new DataLoader(bars(count, 3), { batchSize: count }).epoch(0).next();
  if (!value) throw new Error("the loader is empty");
  return value;
}

describe("TrainingRun", () => {
  it.each(["DenseNet", "CSPDenseNet"] as const)("%s learns bars that it has not seen", async (name) => {
    const run = newRun(name);
    const test = new DataLoader(bars(101, 2), { batchSize: 30 });
    const before = await evaluate(run.model, test);
    const loader = new DataLoader(bars(160, 1), { batchSize: 16, shuffle: true });
    await trainSideBySide([run], loader, { epochs: 6, test });
    const after = await evaluate(run.model, test);
    expect(after.images).toBe(101);
    expect(after.accuracy).toBe(after.correct / 101);
    expect(after.accuracy).toBeGreaterThan(0.97);
    expect(after.loss).toBeLessThan(before.loss / 3);
    expect(run.records).toHaveLength(60);
    expect(run.records.map(({ step }) => step)).toEqual([...run.records.keys()]);
    expect(run.records.at(-1)?.accuracy).toBeGreaterThan(0.9);
  });

  it("records loss, accuracy, time, learning rate and peak memory of a step", async () => {
    manualSeed(1);
    const model = densenet(sizes);
    const optimizer = new optim.SGD(model.parameters(), { lr: 0.2 });
    const run = new TrainingRun({ name: "half", model, optimizer, schedule: (step) => 0.5 ** step });
    const batch = await firstBatch(8);
    const records = [await run.step(batch), await run.step(batch), await run.step(batch)];
    expect(records.map(({ learningRate }) => learningRate)).toEqual([0.2, 0.1, 0.05]);
    for (const { loss, accuracy, milliseconds, images } of records) {
      expect(loss).toBeGreaterThan(0);
      expect(Number.isInteger(accuracy * 8)).toBe(true);
      expect(milliseconds).toBeGreaterThan(0);
      expect(images).toBe(8);
    }
    // Weights, their gradients, and at least the stem's output, all in f32.
    expect(run.peakBytes).toBeGreaterThan(4 * (2 * model.parameterCount() + 8 * 6 * 4 * 4));
  });

  it("counts the optimizer's state once, in the step that makes it as later", async () => {
    manualSeed(1);
    // Wide layers and two small images: weights, gradients and momentum are most there is.
    const model = densenet({ ...sizes, stemChannels: 128, growthRate: 64 });
    const batch = await firstBatch(2);
    const predicted = trainingMemory(model, [batch.shape]).peakBytes;
    const optimizer = new optim.SGD(model.parameters(), { lr: 0.01, momentum: 0.9 });
    const run = new TrainingRun({ name: "wide", model, optimizer });
    for (let step = 0; step < 3; step++) await run.step(batch);
    expect(run.peakBytes / predicted).toBeCloseTo(1, 2);
  });

  it("does not count the memory of other networks", async () => {
    const batch = await firstBatch(8);
    const alone = newRun("DenseNet");
    await alone.step(batch);
    const others = [newRun("CSPDenseNet"), newRun("CSPDenseNet")];
    for (const other of others) await other.step(batch);
    const beside = newRun("DenseNet");
    await beside.step(batch);
    expect(beside.peakBytes).toBe(alone.peakBytes);
  });

  it.each(["DenseNet", "CSPDenseNet"] as const)("%s: 200 steps leave live bytes flat", async (name) => {
    // What building leaves behind goes with the scope: later, the garbage collector would hide a leak with it.
    const run = scope(() => newRun(name));
    const batch = await firstBatch(6);
    for (let i = 0; i < 20; i++) await run.step(batch);
    const at20 = memoryReport();
    for (let i = 20; i < 200; i++) await run.step(batch);
    const at200 = memoryReport();
    expect(at200.liveBytes).toBe(at20.liveBytes);
    expect(at200.liveBuffers).toBe(at20.liveBuffers);
  });

  it("puts the instrument around every forward and backward pass", async () => {
    const instrument = new Recorder();
    const batch = await firstBatch(5);
    const watched = newRun("CSPDenseNet", 0.05, { instrument });
    const plain = newRun("CSPDenseNet");
    for (const run of [watched, plain]) for (let i = 0; i < 3; i++) await run.step(batch);
    expect(instrument.seen).toEqual([0, 1, 2].map((step) => ({ step, shape: [5, 1, 8, 8] })));
    expect(watched.records.map(({ loss }) => loss)).toEqual(plain.records.map(({ loss }) => loss));
  });

  it("says which network diverged, when, and what to do", async () => {
    const run = newRun("DenseNet", 1e30);
    const batch = await firstBatch(8);
    const training = (async () => {
      for (let i = 0; i < 20; i++) await run.step(batch);
    })();
    await expect(training).rejects.toThrow(DivergedError);
    await expect(training).rejects.toThrow(
      /^DenseNet: the loss became (NaN|Infinity) at step \d+, with learning rate 1e\+30; lower the learning rate/,
    );
  });
});

describe("evaluate", () => {
  it("counts the same for every batch size, and leaves mode and statistics alone", async () => {
    const { model } = newRun("CSPDenseNet");
    const state = () => [...model.stateDict().values()].map((tensor) => [...tensor.dataSync()]);
    const before = state();
    model.train();
    const images = bars(31, 5);
    const whole = await evaluate(model, new DataLoader(images, { batchSize: 31 }));
    const parts = await evaluate(model, new DataLoader(images, { batchSize: 7 }));
    expect(parts.correct).toBe(whole.correct);
    expect(parts.loss).toBeCloseTo(whole.loss, 5);
    expect(model.training).toBe(true);
    expect(state()).toEqual(before);
  });

  it("stops at a signal with what it has", async () => {
    const { model } = newRun("DenseNet");
    const stop = new AbortController();
    const seen: number[] = [];
    const onProgress = (images: number) => {
      seen.push(images);
      if (images >= 20) stop.abort();
    };
    const loader = new DataLoader(bars(100, 5), { batchSize: 10 });
    const result = await evaluate(model, loader, { signal: stop.signal, onProgress });
    expect(seen).toEqual([10, 20]);
    expect(result.images).toBe(20);
  });
});

describe("trainSideBySide", () => {
  it("shows all networks the same batches in the same order", async () => {
    const images = bars(20, 1);
    const order = async (names: readonly (keyof typeof builders)[]) => {
      const runs = names.map((name) => newRun(name));
      const loader = new DataLoader(images, { batchSize: 6, shuffle: true, seed: 4 });
      await trainSideBySide(runs, loader, { epochs: 2, test: new DataLoader(images, { batchSize: 20 }) });
      return runs.map(({ records }) => records.map(({ loss, images: count }) => [loss, count]));
    };
    const [dense, csp] = await order(["DenseNet", "CSPDenseNet"]);
    expect(dense.map(([, count]) => count)).toEqual([6, 6, 6, 2, 6, 6, 6, 2]);
    // Alone, each learns exactly the same: the other one changes neither its batches nor its weights.
    expect(await order(["DenseNet"])).toEqual([dense]);
    expect(await order(["CSPDenseNet"])).toEqual([csp]);
  });

  it("stops at a signal after a whole batch, and evaluates nothing more", async () => {
    const stop = new AbortController();
    const instrument = new Recorder();
    const stopping = {
      step<Result>(step: number, images: Tensor, body: () => Result): Result {
        if (step === 2) stop.abort();
        return instrument.step(step, images, body);
      },
    };
    const runs = [newRun("DenseNet", 0.05, { instrument: stopping as Recorder }), newRun("CSPDenseNet")];
    const loader = new DataLoader(bars(60, 1), { batchSize: 6 });
    const evaluations = await trainSideBySide(runs, loader, { epochs: 3, test: loader, signal: stop.signal });
    expect(runs.map(({ records }) => records.length)).toEqual([3, 3]);
    expect(evaluations).toEqual([null, null]);
  });
});

describe("figures for the report", () => {
  const record = (step: number, milliseconds: number): StepRecord => {
    return { step, milliseconds, loss: 1, accuracy: 0.5, images: 4, learningRate: 0.1 };
  };

  it("takes the median of steps that were neither sampled nor the first", () => {
    const times = [900, 500, 10, 10, 40, 12, 11, 10, 40, 10];
    const records = times.map((milliseconds, step) => record(step, milliseconds));
    expect(stepTiming(records, 4)).toEqual({
      stepMilliseconds: 10,
      imagesPerSecond: 400,
      samplingMilliseconds: 60,
      totalMilliseconds: 143,
    });
  });

  it("adds up what sampling cost each network, by its own median", () => {
    const fast = newRun("DenseNet");
    const slow = newRun("CSPDenseNet");
    fast.records.push(...[9, 9, 1, 1, 3, 1].map((ms, step) => record(step, ms)));
    slow.records.push(...[9, 9, 10, 10, 30, 10].map((ms, step) => record(step, ms)));
    expect(samplingShare([fast, slow], 4)).toBeCloseTo((2 + 20) / (6 + 60), 12);
    expect(samplingShare([fast, slow], 1)).toBeNull();
  });

  it("does not invent times that were not measured", () => {
    for (const records of [[], [record(0, 5)], [record(0, 5), record(1, 5), record(2, 5)]])
      expect(stepTiming(records, 1).stepMilliseconds).toBeNull();
  });

  it("leaves out what a stopped run did not measure, and says why", async () => {
    const run = newRun("DenseNet");
    expect(trainingFigures(run, null, 5)).toMatchObject({
      accuracy: { test: null, correct: null, testImages: 0 },
      peakBytes: null,
      stepMilliseconds: null,
    });
    const tested = { images: 20, correct: 19, accuracy: 0.95, loss: 0.2 };
    await run.step(await firstBatch(4));
    const figures = trainingFigures(run, tested, 5);
    expect(figures.accuracy).toEqual({ test: 0.95, train: null, testImages: 20, correct: 19 });
    expect(figures.curves.evaluations).toEqual([{ step: 1, testAccuracy: 0.95 }]);
    const paths = (evaluations: Parameters<typeof trainingGaps>[0]) =>
      trainingGaps(evaluations).map(({ path }) => path);
    expect(paths([tested, null])).toContain("comparison[0].values[1]");
    expect(paths([null, null])).toEqual([
      "variants[0].accuracy.train",
      "variants[0].accuracy",
      "variants[1].accuracy.train",
      "variants[1].accuracy",
    ]);
  });
});
