/**
 * Trains any registered network on a folder of photographs or on MNIST, as the CSPNet paper trains its classifiers, and
 * evaluates it. What it keeps on disk lets it go on after any interruption with the same numbers.
 *
 *     npx tsx examples/train.ts --model csp-densenet-201-elastic --data photos
 *     npx tsx examples/train.ts --help
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  DataError,
  openImages,
  PhotographLoader,
  paperAugmentation,
  samplePhotographs,
} from "../src/data/index.ts";
import { trainingMemory } from "../src/graph/index.ts";
import { manualSeed, nn } from "../src/index.ts";
import { saveSafetensors } from "../src/io/index.ts";
import type { Network } from "../src/models/index.ts";
import * as train from "../src/train/index.ts";
import {
  defaultSteps,
  folderOf,
  isGiven,
  type Options,
  readOptions,
  resumedOptions,
  settingsOf,
} from "./train/options.ts";

const megabytes = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`;
const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;

/** How the network reads images: its own normalisation, at the size that was asked for. */
function inputOf(model: Network, imageSize: number | undefined) {
  const { mean, std, resize, crop } = model.preprocessing;
  const [channels, ownSide] = model.defaultInput;
  const side = imageSize ?? ownSide;
  return { mean, std, channels, side, resize: Math.round((side * resize) / crop) };
}

/** Where to cut: ten crops need some pixels around the middle (256 for 224). */
function cropsOf({ resize, ...input }: ReturnType<typeof inputOf>, { crops, batchSize }: Options) {
  if (crops === "1") return { ...input, resize, batchSize, crops: 1 } as const;
  return {
    ...input,
    resize: Math.max(resize, Math.round((input.side * 8) / 7)),
    batchSize,
    crops: 10,
  } as const;
}

/** Predicted peak of a training step without and with the stages checkpointed; the model is left as it was. */
function predictMemory(model: Network, input: readonly number[]) {
  const plain = train.asUsage("the network does not take such images", () =>
    trainingMemory(model, [[...input]]),
  );
  const undo = checkpointStages(model);
  const checkpointed = trainingMemory(model, [[...input]]);
  undo();
  return { plainBytes: plain.peakBytes, checkpointedBytes: checkpointed.peakBytes };
}

const checkpointStages = (model: Network): (() => void) =>
  nn.checkpointModules(
    model,
    model.stages.flatMap(({ paths }) => paths),
  );

/** A weights file of ours knows its network; what is given on the command line comes first. */
async function withDescription(options: Options): Promise<Options> {
  if (options.weights === undefined) return options;
  const known = await train.describeWeights(options.weights);
  if (!known || isGiven("model")) return options;
  const { model, modelOptions, imageSize } = known;
  return {
    ...{ imageSize, ...options, model },
    modelOptions: isGiven("modelOptions") ? options.modelOptions : modelOptions,
  };
}

function publish(options: Options, result: object, lines: readonly string[]): void {
  if (options.json) process.stdout.write(`${JSON.stringify(result)}\n`);
  if (!options.quiet) (options.json ? process.stderr : process.stdout).write(`${lines.join("\n")}\n`);
}

const evaluationLine = ({ images, accuracy, topFive, loss }: train.CropEvaluation): string =>
  `Validation: ${images} images, top-1 ${percent(accuracy)}, top-5 ${percent(topFive)}, loss ${loss.toFixed(4)}`;

async function prepare(options: Options) {
  const { validationShare, seed } = options;
  const images = await openImages(options.data, { validationShare, seed });
  manualSeed(seed);
  const classes = images.train.classes;
  const model = train.buildModel(options.model, options.modelOptions, classes.length);
  if (options.weights !== undefined) await train.loadWeights(model, options.weights);
  const validation = samplePhotographs(images.validation, options.validationImages, seed);
  return { ...images, validation, model, input: inputOf(model, options.imageSize), classes };
}

async function evaluateOnly(options: Options, note: (line: string) => void): Promise<number> {
  if (options.weights === undefined) note("Without --weights the network's weights are random.");
  const { model, validation, input, classes } = await prepare(options);
  const known = options.weights === undefined ? null : await train.describeWeights(options.weights);
  if (known && known.classes.join("/") !== classes.join("/"))
    throw new DataError(
      `${options.data}: has the classes ${classes.join(", ")}, the network of --weights ${known.classes.join(", ")}; ` +
        "give images of the same classes",
    );
  using interrupt = new train.Interrupt();
  const cut = cropsOf(input, options);
  const folded = nn.foldForInference(model.eval());
  const evaluation = await train.evaluateCrops(folded, validation, { ...cut, signal: interrupt.signal });
  const { crops, side } = cut;
  const result = { model: options.model, data: options.data, crops, imageSize: side, evaluation };
  publish(options, result, [evaluationLine(evaluation)]);
  return interrupt.exitCode;
}

async function main(): Promise<number> {
  let options = readOptions();
  const note = (line: string) => {
    if (!options.quiet) process.stderr.write(`${line}\n`);
  };
  const write = (line: string): void => void process.stderr.write(line);
  const backend = await train.useBackend(options.backend, write, options.reproducible);
  if (options.profile) await train.checkProfile(backend);
  const folderGiven = options.resume;
  let found: Awaited<ReturnType<typeof train.findTraining>> = null;
  if (folderGiven !== undefined) {
    found = await train.findTraining(folderGiven);
    if (!found) throw new train.UsageError(`--resume ${folderGiven}: there is no training.json in it`);
    options = resumedOptions(options, folderGiven, found.settings);
  } else options = await withDescription(options);
  if (options.evaluateOnly) return evaluateOnly(options, note);

  const folder = folderOf(options);
  if (!found && !options.fresh) {
    const earlier = await train.findTraining(folder);
    if (earlier && earlier.records.length < Number(earlier.settings.steps))
      throw new train.UsageError(
        `${folder} holds an unfinished training; go on with --resume ${folder}, or give another --out, or --fresh`,
      );
  }

  const { train: images, validation, grey, model, input, classes } = await prepare(options);
  const { batchSize, lr, seed } = options;
  const { side, channels } = input;
  train.checkAtMost("--batch-size", batchSize, images.count, `training images in ${images.name}`);
  const augment = options.augment ?? (grey ? "none" : "darknet");
  // The paper's views have shorter sides of 128 to 448 pixels, for images of 256.
  const scale = side / 256;
  const { low, high } = paperAugmentation;
  const loader = new PhotographLoader(images, {
    ...input,
    ...{ batchSize, seed, shuffle: true, dropLast: true },
    ...(augment === "darknet"
      ? {
          augmentation: {
            ...paperAugmentation,
            low: Math.round(low * scale),
            high: Math.round(high * scale),
          },
        }
      : {}),
  });
  const steps =
    options.steps ?? (options.epochs === undefined ? defaultSteps : options.epochs * loader.length);
  const settings = found?.settings ?? settingsOf(options, steps, images.count);
  if (settings.trainImages !== images.count)
    throw new DataError(
      `${options.data}: has ${images.count} training images, the training in ${folder} began with ` +
        `${settings.trainImages}; put them back, or start anew with another --out`,
    );

  const memory = predictMemory(model, [batchSize, channels, side, side]);
  note(
    `${options.model} with ${model.parameterCount()} parameters, ${images.count} images of ${classes.length} classes; ` +
      `${steps} steps of ${batchSize} images of ${side} x ${side}`,
  );
  note(
    `Memory at the peak of a step: about ${megabytes(memory.plainBytes)}, with --checkpoint ` +
      `${megabytes(memory.checkpointedBytes)}${options.checkpoint ? " (in use)" : ""}`,
  );
  if (options.checkpoint) checkpointStages(model);

  await train.prepareFolder(folderGiven === undefined ? "--out" : "--resume", folder);
  const { optimizer, schedule } = train.paperRecipe(model.parameters(), { steps, lr });
  if (found) {
    await found.restore(model, optimizer);
    note(`Going on after step ${found.records.length} of ${steps}`);
  }
  const records = found?.records ?? [];
  // The schedule multiplies the base rate, which the optimizer still has.
  const run = new train.TrainingRun({ name: options.model, model, optimizer, schedule, records });
  const progress = options.quiet
    ? undefined
    : new train.Progress({
        stream: process.stderr,
        trainImages: (steps - records.length) * batchSize,
        testImages: validation.count,
      });
  using interrupt = new train.Interrupt(() =>
    progress?.note("Stopping after this step; the training can be resumed."),
  );
  const { signal } = interrupt;
  const save = () => train.saveTraining(folder, { settings, records: run.records, model, optimizer });
  const epochOf = (step: number) => Math.floor(step / loader.length) + 1;
  const evaluation = await (async () => {
    await train.trainSteps(run, loader, {
      ...{ steps, signal },
      onStep: async (record) => {
        progress?.trained(run.name, record, `epoch ${epochOf(record.step)}/${epochOf(steps - 1)}`);
        if (run.records.length % options.saveEvery === 0) await save();
      },
    });
    await save();
    if (signal.aborted) return null;
    return train.evaluateCrops(model.eval(), validation, {
      ...cropsOf(input, options),
      signal,
      onProgress: (done) => progress?.evaluated(run.name, done, validation.count),
    });
  })().finally(() => progress?.finish());

  const weights = join(folder, "weights.safetensors");
  await saveSafetensors(
    weights,
    model.stateDict(),
    train.weightsMetadata({
      model: options.model,
      modelOptions: options.modelOptions,
      classes: [...classes],
      imageSize: side,
    }),
  );
  const losses = run.records.map(({ loss }) => loss);
  publish(
    options,
    {
      ...{ model: options.model, data: options.data, classes, imageSize: side, batchSize, steps },
      ...{ finished: run.records.length === steps, memory, peakBytes: run.peakBytes },
      ...{ losses, evaluation, weights },
    },
    [
      ...(losses.length === 0
        ? []
        : [
            `Loss ${losses[0].toFixed(4)} at the first step, ${losses[losses.length - 1].toFixed(4)} at step ` +
              `${losses.length}; at most ${megabytes(run.peakBytes)} in use`,
          ]),
      ...(evaluation ? [evaluationLine(evaluation)] : []),
      run.records.length === steps
        ? `Weights: ${weights} (npx tsx examples/classify.ts photo.jpg --weights ${weights})`
        : `Stopped after ${run.records.length} of ${steps} steps; go on with --resume ${folder}`,
    ],
  );
  if (options.profile && !signal.aborted) {
    const people = options.json ? process.stderr : process.stdout;
    const network = { name: options.model, model, optimizer };
    for (const profile of await train.profileSteps(backend, [network], loader))
      people.write(train.renderProfile(profile, people.columns || 100));
  }
  return interrupt.exitCode;
}

await train.inOwnProcess(fileURLToPath(import.meta.url), () => train.runCommand(main));
