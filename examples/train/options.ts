/** The options of examples/train.ts, and how those of a training that is resumed come from its folder. */
import { join, resolve } from "node:path";
import { Command, Option } from "commander";
import * as train from "../../src/train/index.ts";

const { wholeNumber, decimalNumber } = train;
const count = (example: number) => wholeNumber({ least: 1, example });

export interface Options {
  readonly model: string;
  readonly modelOptions: train.GivenOptions;
  readonly data: string;
  readonly validationShare: number;
  readonly validationImages: number;
  /** Default: the model's own. */
  readonly imageSize?: number;
  readonly batchSize: number;
  readonly steps?: number;
  readonly epochs?: number;
  readonly lr: number;
  /** Default: darknet for photographs, none for grey sets. */
  readonly augment?: "darknet" | "none";
  readonly seed: number;
  readonly crops: "1" | "10";
  readonly weights?: string;
  readonly checkpoint?: boolean;
  readonly evaluateOnly?: boolean;
  readonly resume?: string;
  readonly fresh?: boolean;
  readonly saveEvery: number;
  readonly backend: train.BackendName;
  readonly reproducible?: boolean;
  readonly out?: string;
  readonly quiet?: boolean;
  readonly json?: boolean;
  readonly profile?: boolean;
}

/** Steps of a training for which neither --steps nor --epochs is given. */
export const defaultSteps = 100;

const command = new Command("train")
  .description("Trains any network of Gradweave on photographs or on MNIST with the CSPNet paper's recipe.")
  .option("--model <name>", "a name that createModel knows", "csp-peleenet")
  .option("--model-options <json>", "options of the model's family", train.modelOptionsArgument, {})
  .option(
    "--data <folder>",
    "train/CLASS/*.jpg and val/CLASS/*.jpg, or CLASS/*.jpg, or MNIST's IDX files; or mnist",
    "mnist",
  )
  .option(
    "--validation-share <share>",
    "kept from training where there is no val folder",
    decimalNumber({ above: 0, below: 1, example: 0.1 }),
    0.1,
  )
  .option("--validation-images <count>", "validate with at most so many, chosen at random", count(500), 500)
  .option("--image-size <pixels>", "side of the images (default: the model's own)", count(224))
  .option("--batch-size <images>", "images a training step; the paper's is 128", count(8), 8)
  .option("--steps <count>", `training steps (default: ${defaultSteps})`, count(100))
  .option("--epochs <count>", "passes over the training images, in place of --steps", count(1))
  .option("--lr <rate>", "highest learning rate", decimalNumber({ above: 0, example: 0.1 }), 0.1)
  .addOption(
    new Option(
      "--augment <kind>",
      "random views of the training images (default: Darknet's for photographs, none for grey sets)",
    ).choices(["darknet", "none"]),
  )
  .option("--seed <number>", "initial weights, order and views", wholeNumber({ least: 0, example: 1 }), 0)
  .option("--weights <file>", "start from these weights, a safetensors file")
  .option("--checkpoint", "keep only what enters the stages, and compute them again: less memory, more time")
  .option("--evaluate-only", "validate the network of --weights, train nothing")
  .addOption(
    new Option("--crops <count>", "validate with the middle, or with ten crops")
      .choices(["1", "10"])
      .default("1"),
  )
  .option("--save-every <steps>", "steps from one saved state to the next", count(100), 100)
  .option("--resume <folder>", "go on with the training in this folder, which knows its options")
  .option("--fresh", "start anew where --out holds an unfinished training")
  .addOption(train.backendOption())
  .addOption(train.reproducibleOption())
  .addOption(train.profileOption())
  .option("--out <folder>", "where weights and state go (default: reports/MODEL)")
  .option("--quiet", "no progress and no result")
  .option("--json", "print the result as JSON on stdout, and for people on stderr")
  .allowExcessArguments(false)
  .exitOverride()
  .addHelpText(
    "after",
    `
${train.modelsHelp()}

Examples:
  npx tsx examples/train.ts                                        CSPPeleeNet on MNIST, a few minutes
  npx tsx examples/train.ts --model densenet-121 --data photos     photographs, a folder for each class
  npx tsx examples/train.ts --model csp-densenet-201-elastic --data photos --batch-size 16 --checkpoint
  npx tsx examples/train.ts --resume reports/densenet-121          go on after any interruption
  npx tsx examples/train.ts --evaluate-only --weights reports/densenet-121/weights.safetensors --data photos --crops 10
  npx tsx examples/train.ts --model peleenet --model-options '{"growthRate": 16}' --image-size 64 --steps 20

The recipe is the paper's: SGD with momentum 0.9 and weight decay 0.0005, a learning rate of 0.1 that falls by a polynomial
of power 4 after a burn-in, Darknet's random views. Ctrl-C ends the training after the current step and saves it.
Exit codes: 0 done, 1 internal error, 2 wrong options, 3 unusable data, 4 training diverged,
5 out of memory or disk, 130 or 143 interrupted.`,
  );

/** The options that the numbers of a training depend on, as its folder keeps them. */
export function settingsOf(
  options: Options,
  steps: number,
  trainImages: number,
): Record<string, train.SettingValue> {
  const { model, modelOptions, data, validationShare, batchSize, lr, seed, augment, imageSize } = options;
  return {
    ...{ model, validationShare, batchSize, steps, lr, seed, trainImages },
    modelOptions: JSON.stringify(modelOptions),
    data: data === "mnist" ? data : resolve(data),
    augment: augment ?? null,
    imageSize: imageSize ?? null,
    weights: options.weights === undefined ? null : resolve(options.weights),
  };
}

/** What the command line asks for. Throws a UsageError for options that exclude each other. */
export function readOptions(): Options {
  const options: Options = command.parse().opts();
  if (options.steps !== undefined && options.epochs !== undefined)
    throw new train.UsageError("--steps and --epochs: give one of them");
  if (options.profile && options.evaluateOnly)
    throw new train.UsageError("--profile measures training steps; leave it out, or --evaluate-only");
  if (options.resume !== undefined)
    for (const name of ["fresh", "out", "evaluateOnly", "epochs"] as const)
      if (options[name] !== undefined)
        throw new train.UsageError(`--resume goes on with a training as it was; leave out ${flagOf(name)}`);
  return options;
}

const flagOf = (name: string): string =>
  `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** Whether the option was given, rather than left at its default. */
export const isGiven = (name: keyof Options): boolean => command.getOptionValueSource(name) === "cli";

/**
 * The options of a training that is resumed: its own, whatever the defaults are. Throws a UsageError where one that was
 * given now differs.
 */
export function resumedOptions(
  options: Options,
  folder: string,
  settings: Readonly<Record<string, train.SettingValue>>,
): Options {
  const now = settingsOf(options, options.steps ?? defaultSteps, 0);
  for (const [name, value] of Object.entries(settings))
    if (command.getOptionValueSource(name) === "cli" && now[name] !== value)
      throw new train.UsageError(
        `${flagOf(name)} ${now[name]}: the training in ${folder} has ${value}; leave it out, or start anew with another --out`,
      );
  // The weights that it began with are of no use any more, and may be gone.
  const stored = Object.fromEntries(
    Object.entries(settings).filter(([name, value]) => value !== null && name !== "weights"),
  );
  const modelOptions = train.modelOptionsArgument(String(settings.modelOptions));
  return { ...options, ...stored, modelOptions };
}

/** Where the training is kept. */
export const folderOf = ({ resume, out, model }: Options): string => resume ?? out ?? join("reports", model);
