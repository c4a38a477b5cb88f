/**
 * Says what a network takes photographs for.
 *
 *     npx tsx examples/classify.ts photo.jpg --model densenet-121 --weights densenet121.safetensors --classes names.txt
 *     npx tsx examples/classify.ts --help
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { Command, Option } from "commander";
import { readPhotograph } from "../src/data/index.ts";
import { trace } from "../src/graph/index.ts";
import { manualSeed, nn } from "../src/index.ts";
import * as train from "../src/train/index.ts";

interface Options {
  /** Default: the one that the weights file names, else DenseNet-121. */
  readonly model?: string;
  readonly modelOptions?: train.GivenOptions;
  readonly weights?: string;
  readonly classes?: string;
  readonly top: number;
  readonly crops: "1" | "10";
  readonly imageSize?: number;
  readonly backend: train.BackendName;
  readonly reproducible?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

const count = (example: number) => train.wholeNumber({ least: 1, example });

const command = new Command("classify")
  .description("Classifies photographs (JPEG, PNG, WebP, GIF, TIFF, AVIF) with any network of Gradweave.")
  .argument("<photos...>", "image files")
  .option(
    "--model <name>",
    "a name that createModel knows (default: what the weights file says, or densenet-121)",
  )
  .option("--model-options <json>", "options of the model's family", train.modelOptionsArgument)
  .option("--weights <file>", "safetensors of examples/train.ts, torchvision or timm; random without")
  .option("--classes <file>", "names of the classes, one a line, in the order of the logits")
  .option("--top <count>", "how many classes to print", count(5), 5)
  .addOption(
    new Option("--crops <count>", "the middle, or corners, middle and their mirror images")
      .choices(["1", "10"])
      .default("1"),
  )
  .option("--image-size <pixels>", "side of the crops (default: the model's own)", count(224))
  .addOption(train.backendOption())
  .addOption(train.reproducibleOption())
  .option("--quiet", "no notes")
  .option("--json", "print the result as JSON")
  .exitOverride()
  .addHelpText(
    "after",
    `
${train.modelsHelp()}

Examples:
  npx tsx examples/classify.ts photo.jpg --weights reports/csp-peleenet/weights.safetensors
  npx tsx examples/classify.ts *.jpg --model resnet-50 --weights resnet50.safetensors --classes imagenet.txt --crops 10
  npx tsx examples/classify.ts photo.jpg --model densenet-121 --json        random weights: shows that it runs

Exit codes: 0 done, 1 internal error, 2 wrong options, 3 unusable image or weights, 5 out of memory.`,
  );

/** The names in a file, one a line. */
async function readNames(path: string): Promise<string[]> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new train.UsageError(
      `--classes ${path}: cannot be read (${why}); give a text file, a name a line`,
      {
        cause,
      },
    );
  }
  const names = text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== "");
  if (names.length === 0)
    throw new train.UsageError(`--classes ${path}: is empty; give a text file, a name a line`);
  return names;
}

async function main(): Promise<number> {
  command.parse();
  const options: Options = command.opts();
  const photos = command.args;
  const note = (line: string) => {
    if (!options.quiet) process.stderr.write(`${line}\n`);
  };
  await train.useBackend(options.backend, note, options.reproducible);
  const known = options.weights === undefined ? null : await train.describeWeights(options.weights);
  const own = known && (options.model === undefined || options.model === known.model) ? known : null;
  const name = options.model ?? own?.model ?? "densenet-121";
  const names = options.classes === undefined ? own?.classes : await readNames(options.classes);

  manualSeed(0);
  const model = train.buildModel(name, options.modelOptions ?? own?.modelOptions ?? {}, names?.length);
  if (options.weights === undefined)
    note(`${name} has random weights without --weights: what it says of a photograph means nothing`);
  else await train.loadWeights(model, options.weights);

  const { mean, std, resize, crop } = model.preprocessing;
  const [channels, ownSide] = model.defaultInput;
  const side = options.imageSize ?? own?.imageSize ?? ownSide;
  const margin = options.crops === "10" ? 8 / 7 : 1;
  const cut = {
    ...({ mean, std, channels, side, crops: options.crops === "10" ? 10 : 1 } as const),
    resize: Math.round(side * Math.max(margin, resize / crop)),
  };
  train.asUsage(`the network does not take images of ${side} x ${side}`, () =>
    trace(model, [1, channels, side, side]),
  );
  const folded = nn.foldForInference(model.eval());
  const results: object[] = [];
  for (const photo of photos) {
    const photograph = await readPhotograph(photo);
    const start = performance.now();
    const [probabilities] = await train.classifyPhotographs(folded, [photograph], cut);
    const milliseconds = performance.now() - start;
    const classes = train.topClasses(probabilities, options.top).map(({ index, probability }) => ({
      ...{ class: names?.[index] ?? `class ${index}`, index, probability },
    }));
    results.push({ photo, classes, milliseconds });
    if (options.json) continue;
    process.stdout.write(
      `${photo} (${photograph.width} x ${photograph.height}, ${milliseconds.toFixed(0)} ms)\n`,
    );
    for (const { class: label, probability } of classes)
      process.stdout.write(`  ${(100 * probability).toFixed(2).padStart(6)} %  ${label}\n`);
  }
  if (options.json) {
    const { weights = null } = options;
    process.stdout.write(
      `${JSON.stringify({ model: name, weights, crops: cut.crops, imageSize: side, results })}\n`,
    );
  }
  return 0;
}

await train.inOwnProcess(fileURLToPath(import.meta.url), () => train.runCommand(main));
