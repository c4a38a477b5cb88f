/**
 * The comparison: several networks, or one network with different gradient paths, trained on the same images in the same
 * order from the same seeds, and everything that can be said of their gradients side by side.
 */
import { createHash } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import { type Batch, DataLoader, type ImageDataset } from "../../data/index.ts";
import { GradientRecorder, type GradientReuseReport, PathEditor } from "../../gradflow/index.ts";
import { init } from "../../nn/index.ts";
import * as optim from "../../nn/optim/index.ts";
import { manualSeed } from "../../tensor/generator.ts";
import { chainInstruments } from "../chainInstruments.ts";
import { evaluate } from "../evaluate.ts";
import { stepTiming } from "../figures.ts";
import { environment } from "../publishReport.ts";
import { TrainingRun } from "../trainingRun.ts";
import type { ComparedVariant, CompareOptions, CompareProgress, CompareSettings } from "./options.ts";
import { comparisonReport, reportSoFar } from "./report.ts";
import { type RunKey, RunStore } from "./runStore.ts";
import { type SeedResult, seedResultShape } from "./seedResult.ts";

/**
 * Trains every variant with every seed and compares them. The first variant is the baseline. Variants of which not all
 * seeds are finished when `signal` comes are left out, and the report says so; null when that leaves none.
 *
 * Throws when there is nothing to train: no variant, seed, step or image; for a path that does not exist; and a
 * DivergedError when a loss is not finite.
 */
export async function compareGradientFlow(options: CompareOptions): Promise<GradientReuseReport | null> {
  const { variants, seeds, stateFolder, signal, live, onProgress } = options;
  const results = new Map<string, SeedResult[]>(variants.map(({ name }) => [name, []]));
  const settings: CompareSettings = {
    ...{ batchSize: 16, learningRate: 0.1, everySteps: 50 },
    ...options,
    onProgress: (progress) => {
      onProgress?.(progress);
      live?.offer(() => reportSoFar(settings, results));
    },
  };
  check(settings);
  const store = stateFolder === undefined ? null : new RunStore(stateFolder);
  const runs = seeds.flatMap((seed) => variants.map((variant) => ({ seed, variant })));
  for (const [index, { seed, variant }] of runs.entries()) {
    if (signal?.aborted) break;
    const at = { variant: variant.name, seed, run: index + 1, runs: runs.length };
    const result = await runOnce(variant, seed, settings, store, at);
    if (result) results.get(variant.name)?.push(result);
  }
  return comparisonReport(settings, results);
}

function check({ variants, seeds, steps, data, batchSize, everySteps, learningRate }: CompareSettings): void {
  const refuse = (what: string): never => {
    throw new Error(`compareGradientFlow: ${what}`);
  };
  if (variants.length === 0) refuse("there is no variant to train; give one or more");
  if (seeds.length === 0) refuse("there is no seed to train with; give one or more, such as [0, 1, 2]");
  const names = variants.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) refuse(`two variants are named "${twice}"; give each a name of its own`);
  if (new Set(seeds).size !== seeds.length) refuse(`seeds [${seeds.join(", ")}] repeat one; give each once`);
  for (const [what, value] of Object.entries({ steps, batchSize, everySteps }))
    if (!Number.isInteger(value) || value < 1)
      refuse(
        `${what} ${value} must be a positive integer: a run without ${what === "steps" ? "a step" : "it"} measures nothing`,
      );
  if (!(learningRate > 0 && Number.isFinite(learningRate)))
    refuse(`learningRate ${learningRate} must be above 0`);
  if (data.train.count < batchSize)
    refuse(`batchSize ${batchSize} is more than the ${data.train.count} images of ${data.train.name}`);
  if (data.test.count === 0) refuse(`${data.test.name} has no images to test with`);
  for (const { name, counterfactual } of variants)
    if (counterfactual && !names.includes(counterfactual.of))
      refuse(`"${name}" is a counterfactual of "${counterfactual.of}", which is not among the variants`);
}

type At = Pick<CompareProgress, "variant" | "seed" | "run" | "runs">;

/** One run, from the store where it is finished already; null when it was stopped. */
async function runOnce(
  variant: ComparedVariant,
  seed: number,
  settings: CompareSettings,
  store: RunStore | null,
  at: At,
): Promise<SeedResult | null> {
  const { steps, onProgress } = settings;
  const key = runKey(variant, seed, settings);
  const restored = (await store?.load(key)) ?? null;
  const result = restored ?? (await train(variant, seed, settings, at));
  if (!result) return null;
  if (!restored) await store?.save(key, result);
  const accuracy = result.correct / result.testImages;
  onProgress?.({ ...at, step: steps, steps, finished: { accuracy, restored: restored !== null } });
  return result;
}

/** Everything that decides a run's numbers, apart from the code. */
function runKey(variant: ComparedVariant, seed: number, settings: CompareSettings): RunKey {
  const { seeds, steps, batchSize, learningRate, everySteps, data } = settings;
  return {
    variant: variant.name,
    seed,
    settings: {
      gradweave: environment().versions.gradweave,
      architecture: variant.architecture,
      network: networkDigest(variant),
      ...{ steps, batchSize, learningRate, everySteps, firstSeed: seeds[0] },
      ...{ train: dataDigest(data.train), test: dataDigest(data.test), mean: data.mean, std: data.std },
      edits: variant.counterfactual?.edits ?? [],
    },
  };
}

const networkDigests = new WeakMap<ComparedVariant, string>();
const dataDigests = new WeakMap<ImageDataset, string>();

/** Of the names and shapes of a network's parameters: two networks may be described by the same words. */
function networkDigest(variant: ComparedVariant): string {
  const known = networkDigests.get(variant);
  if (known !== undefined) return known;
  const parameters = init.withoutDrawing(() => variant.build().namedParameters());
  const digest = createHash("sha256")
    .update(JSON.stringify([...parameters].map(([name, { shape }]) => [name, shape])))
    .digest("hex");
  networkDigests.set(variant, digest);
  return digest;
}

/** Of the images and labels themselves. */
function dataDigest(dataset: ImageDataset): string {
  const known = dataDigests.get(dataset);
  if (known !== undefined) return known;
  const { images, labels, count, channels, height, width } = dataset;
  const digest = createHash("sha256")
    .update(JSON.stringify([count, channels, height, width]))
    .update(images)
    .update(Uint8Array.from(labels))
    .digest("hex");
  dataDigests.set(dataset, digest);
  return digest;
}

/** Batches of as many epochs as it takes. */
async function* batches(loader: DataLoader, steps: number): AsyncGenerator<Batch> {
  let step = 0;
  for (let epoch = 0; step < steps; epoch++)
    for await (const batch of loader.epoch(epoch)) {
      yield batch;
      step += 1;
      if (step === steps) return;
    }
}

async function train(
  variant: ComparedVariant,
  seed: number,
  settings: CompareSettings,
  at: At,
): Promise<SeedResult | null> {
  const { data, seeds, steps, batchSize, learningRate, everySteps, signal, onProgress } = settings;
  const normalisation = { ...(data.mean ? { mean: data.mean } : {}), ...(data.std ? { std: data.std } : {}) };
  manualSeed(seed);
  const model = variant.build();
  const recorder = new GradientRecorder(model, model.stages, {
    everySteps,
    // Heat maps are drawn for one seed; of the others their curves are enough.
    detail: seed === seeds[0] ? "maps" : "stages",
  });
  const editor = variant.counterfactual
    ? new PathEditor(model, model.stages, variant.counterfactual.edits)
    : null;
  const optimizer = new optim.SGD(model.parameters(), {
    lr: learningRate,
    momentum: 0.9,
    nesterov: true,
    weightDecay: 1e-4,
  });
  const warmUp = Math.ceil(steps / 10);
  const decline = optim.cosine({ maxSteps: Math.max(1, steps - warmUp) });
  const run = new TrainingRun({
    name: `${variant.name}, seed ${seed}`,
    model,
    optimizer,
    schedule: optim.linearWarmup({ steps: warmUp, start: 0.1, next: decline }),
    instrument: editor ? chainInstruments([editor, recorder]) : recorder,
  });
  const loader = new DataLoader(data.train, {
    batchSize,
    seed,
    shuffle: true,
    dropLast: true,
    ...normalisation,
  });
  for await (const batch of batches(loader, steps)) {
    // A step leaves no room for signals and timers; here is where a Ctrl-C gets through.
    await nextTurn();
    if (signal?.aborted) return null;
    await run.step(batch);
    onProgress?.({ ...at, step: run.records.length, steps });
  }
  const test = new DataLoader(data.test, { batchSize: Math.min(250, data.test.count), ...normalisation });
  const { images, correct } = await evaluate(model, test, signal ? { signal } : {});
  if (signal?.aborted) return null;
  return seedResult(seed, run, { images, correct }, settings, recorder, editor);
}

function seedResult(
  seed: number,
  run: TrainingRun,
  { images, correct }: { readonly images: number; readonly correct: number },
  { everySteps }: CompareSettings,
  recorder: GradientRecorder,
  editor: PathEditor | null,
): SeedResult {
  const timing = stepTiming(run.records, everySteps);
  // Where paths are edited every step is watched: its time and memory are not those of the network.
  const isTimed = !editor && timing.stepMilliseconds !== null;
  return {
    seed,
    testImages: images,
    correct,
    loss: rounded(run.records.map(({ loss }) => loss)),
    trainAccuracy: rounded(run.records.map(({ accuracy }) => accuracy)),
    peakBytes: isTimed ? run.peakBytes : null,
    stepMilliseconds: isTimed ? timing.stepMilliseconds : null,
    imagesPerSecond: isTimed ? timing.imagesPerSecond : null,
    sampling: isTimed ? { added: timing.samplingMilliseconds, total: timing.totalMilliseconds } : null,
    editedPieces: editor?.editedPieces ?? 0,
    measured: seedResultShape.shape.measured.parse(rounded(recorder.measured())),
  };
}

/**
 * A copy with six significant digits of each number, as many as f32 holds: two thirds of the bytes in the report, and in
 * the page that is made of it. The same numbers as are read from a file of the run.
 */
function rounded<Value>(value: Value): Value {
  return JSON.parse(JSON.stringify(value), (_key, item) =>
    typeof item === "number" && !Number.isInteger(item) ? Number(item.toPrecision(6)) : item,
  );
}
