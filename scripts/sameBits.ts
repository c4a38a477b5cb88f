/**
 * `npx tsx scripts/sameBits.ts`: trains the example's DenseNet and CSPDenseNet on the CPU and on WebGPU, both in
 * reproducible mode and each on its own, on the same images, and says how far apart they are: losses, weights, running
 * statistics, gradient pieces and the equations derived from the networks. Exits with 1 when a single bit differs.
 */
import { isDeepStrictEqual } from "node:util";
import { Command } from "commander";
import { createCpuBackend } from "../src/backends/cpu/index.ts";
import { createWebGpuBackend } from "../src/backends/webgpu/index.ts";
import { DataLoader, loadMnist } from "../src/data/index.ts";
import {
  analyzeStage,
  GradientRecorder,
  stageEquations,
  stageStructure,
  trace,
} from "../src/gradflow/index.ts";
import { type Backend, manualSeed, optim, setDefaultBackend, zeros } from "../src/index.ts";
import { cspDenseNet, type DenseNet, densenet } from "../src/models/index.ts";
import { TrainingRun, wholeNumber, wholeNumbers } from "../src/train/index.ts";

const command = new Command("sameBits")
  .description("Trains the example's networks on two backends in reproducible mode and compares every bit.")
  .option("--steps <count>", "training steps of each network", wholeNumber({ least: 1, example: 50 }), 50)
  .option(
    "--schedule <steps>",
    "length of the training whose first steps these are: the learning rate warms up over a tenth of it (default: the steps)",
    wholeNumber({ least: 1, example: 7500 }),
  )
  .option("--seeds <numbers>", "initial weights and image order", wholeNumbers({ least: 0, example: 1 }), [0])
  .option("--adapter <name>", "the WebGPU adapter; software is the same everywhere", "software")
  .allowExcessArguments(false);

interface Options {
  readonly steps: number;
  readonly schedule?: number;
  readonly seeds: readonly number[];
  readonly adapter: string;
}

/** The example's own settings. */
const batchSize = 16;
const size = {
  blocks: [3, 3, 3],
  growthRate: 8,
  stemChannels: 16,
  bottleneckWidth: 2,
  inChannels: 1,
  classes: 10,
  stem: "small",
} as const;
const networks: Readonly<Record<string, () => DenseNet>> = {
  DenseNet: () => densenet(size),
  CSPDenseNet: () => cspDenseNet({ ...size, partialRatio: 0.5, fusion: "both" }),
};

interface Trainee {
  readonly backend: Backend;
  readonly model: DenseNet;
  readonly recorder: GradientRecorder;
  readonly run: TrainingRun;
  /** Equations and structure of every stage. */
  readonly derived: unknown;
}

/** A network on `backend` with its optimizer, ready to train. */
function prepare(backend: Backend, name: string, seed: number, total: number): Trainee {
  setDefaultBackend(backend);
  manualSeed(seed);
  const model = networks[name]();
  const traced = trace(model, zeros([1, 1, 28, 28]));
  const derived = model.stages.map((stage) => {
    const analyzed = analyzeStage(traced, stage);
    return { equations: stageEquations(analyzed), structure: stageStructure(analyzed) };
  });
  const recorder = new GradientRecorder(model, model.stages, { everySteps: 10 });
  const settings = { lr: 0.1, momentum: 0.9, nesterov: true, weightDecay: 1e-4 };
  const optimizer = new optim.SGD(model.parameters(), settings);
  const warmUp = Math.ceil(total / 10);
  const decline = optim.cosine({ maxSteps: Math.max(1, total - warmUp) });
  const schedule = optim.linearWarmup({ steps: warmUp, start: 0.1, next: decline });
  const run = new TrainingRun({ name, model, optimizer, schedule, instrument: recorder });
  return { backend, model, recorder, run, derived };
}

/** Of two lists of tensors, how many numbers differ in a bit, and how many there are. */
async function compareStates(a: DenseNet, b: DenseNet): Promise<{ differing: number; count: number }> {
  const others = b.stateDict();
  let [differing, count] = [0, 0];
  for (const [name, tensor] of a.stateDict()) {
    const [own, other] = [await tensor.data(), await others.get(name)?.data()];
    count += own.length;
    for (let i = 0; i < own.length; i++) if (!Object.is(own[i], other?.[i])) differing += 1;
  }
  return { differing, count };
}

const relativeDifference = (a: number, b: number): number => (a === b ? 0 : Math.abs(a - b) / Math.abs(a));

/** Trains `name` on both backends. Returns whether every bit is the same. */
async function compare(
  backends: readonly Backend[],
  name: string,
  seed: number,
  options: Options,
): Promise<boolean> {
  const { steps, schedule = steps } = options;
  const { train: images } = await loadMnist();
  const normalisation = { mean: [0.1307], std: [0.3081] };
  const loader = new DataLoader(images, { batchSize, seed, shuffle: true, dropLast: true, ...normalisation });
  const [cpu, gpu] = backends.map((backend) => prepare(backend, name, seed, schedule));
  let largest = 0;
  let done = 0;
  for await (const batch of loader.epoch(0)) {
    if (done === steps) break;
    const losses: number[] = [];
    for (const { backend, run } of [cpu, gpu]) {
      setDefaultBackend(backend);
      losses.push((await run.step(batch)).loss);
    }
    largest = Math.max(largest, relativeDifference(losses[0], losses[1]));
    done += 1;
  }
  const { differing, count } = await compareStates(cpu.model, gpu.model);
  const sameFigures = isDeepStrictEqual(cpu.recorder.measured(), gpu.recorder.measured());
  const sameEquations = isDeepStrictEqual(cpu.derived, gpu.derived);
  const [first, last] = [cpu.run.records[0].loss, cpu.run.records[done - 1].loss];
  const times = [cpu, gpu].map(({ run }) => {
    const sorted = run.records.map(({ milliseconds }) => milliseconds).sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)].toFixed(0);
  });
  process.stdout.write(
    `${name}, seed ${seed}: ${done} steps, loss ${first.toFixed(4)} to ${last.toFixed(4)}\n` +
      `  losses       largest relative difference ${largest.toExponential(1)}\n` +
      `  state        ${differing} of ${count} numbers differ\n` +
      `  gradients    figures of the recorder ${sameFigures ? "the same" : "differ"}\n` +
      `  equations    equations and structure ${sameEquations ? "the same" : "differ"}\n` +
      `  time         median step ${times[0]} ms on the CPU, ${times[1]} ms on WebGPU\n`,
  );
  return largest === 0 && differing === 0 && sameFigures && sameEquations;
}

const options: Options = command.parse().opts();
const backends = [
  createCpuBackend({ reproducible: true }),
  await createWebGpuBackend({ reproducible: true, adapter: options.adapter }),
];
for (const backend of backends) process.stdout.write(`${backend.name}: ${backend.info().description}\n`);
for (const seed of options.seeds)
  for (const name of Object.keys(networks))
    if (!(await compare(backends, name, seed, options))) process.exitCode = 1;
