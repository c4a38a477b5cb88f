/**
 * What networks cost, layer by layer: figures 7 and 8 of the CSPNet paper (BFLOPs and memory traffic of every layer)
 * for any network that createModel builds and any Darknet .cfg file, as a table and as one page for a browser. Finds the
 * layers whose cost sticks out. Takes seconds; nothing is computed or downloaded.
 *
 *     npx tsx examples/cost.ts --model peleenet,csp-peleenet
 *     npx tsx examples/cost.ts --model resnext-50-darknet,csp-resnext-50 --input 256
 *     npx tsx examples/cost.ts --help
 */
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { Command, Option } from "commander";
import {
  type CountedNetwork,
  costReport,
  countCfg,
  countNetwork,
  renderCostPage,
  renderCostTable,
} from "../src/cost/index.ts";
import { DataError } from "../src/data/index.ts";
import { type CountingRule, countingRules, summary, withoutValues } from "../src/graph/index.ts";
import { writeFilesAtomically } from "../src/io/atomicFiles.ts";
import { FileFormatError } from "../src/io/index.ts";
import { createModel, listModels, modelEntry } from "../src/models/index.ts";
import { asUsage, prepareFolder, runCommand, UsageError, wholeNumber } from "../src/train/index.ts";

interface Options {
  readonly model: readonly string[];
  readonly input?: number;
  readonly rule: CountingRule;
  readonly out: string;
  readonly quiet?: boolean;
  readonly json?: boolean;
  readonly list?: boolean;
  readonly modules?: number;
}

const names = (text: string): string[] =>
  text
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");

const command = new Command("cost")
  .description("Counts networks layer by layer and finds the layers whose cost sticks out.")
  .option(
    "--model <names>",
    "models by name or paths of .cfg files, separated by commas; the first is what the others are compared with",
    names,
    ["peleenet", "csp-peleenet"],
  )
  .option(
    "--input <pixels>",
    "height and width of the image (default: each network's own)",
    wholeNumber({ least: 1, most: 8192, example: 416 }),
  )
  .addOption(
    new Option("--rule <name>", "what counts as operations; .cfg files know darknet, the paper's")
      .choices(countingRules)
      .default("darknet"),
  )
  .option("--out <folder>", "where cost.html and cost.json go", "reports")
  .option(
    "--modules <depth>",
    "print every model's modules too, with shapes and parameters, so many levels deep",
    wholeNumber({ least: 1, example: 2 }),
  )
  .option("--quiet", "no table")
  .option("--json", "print the figures as JSON on stdout, and the table on stderr")
  .option("--list", "print the models' names and what they are, and end")
  .allowExcessArguments(false)
  .exitOverride()
  .addHelpText(
    "after",
    `
Examples:
  npx tsx examples/cost.ts --model peleenet,csp-peleenet --input 416     the backbones of figure 7
  npx tsx examples/cost.ts --model resnext-50-darknet,csp-resnext-50     figure 8: CIO 34.4 M and 32.6 M
  npx tsx examples/cost.ts --model yolov3.cfg,densenet-121 --json        a detector's cfg beside a model

Exit codes: 0 done, 1 internal error, 2 wrong options, 3 unusable file, 5 out of disk.`,
  );

/** Throws a DataError, which names the file, when it cannot be read or is no network. */
async function countFile(path: string, { input, rule }: Options): Promise<CountedNetwork> {
  if (rule !== "darknet")
    throw new UsageError(
      `--rule ${rule}: ${path} is a Darknet file, which is counted by Darknet's rule; leave it out`,
    );
  try {
    const text = await readFile(path, "utf8");
    return countCfg(basename(path, ".cfg"), text, input === undefined ? {} : { size: input });
  } catch (cause) {
    const isFault = cause instanceof FileFormatError || (cause instanceof Error && "code" in cause);
    throw isFault ? new DataError(`${path}: ${cause.message}`, { cause }) : cause;
  }
}

function countModel(name: string, { input, rule }: Options): CountedNetwork {
  asUsage(`--model ${name}`, () => modelEntry(name));
  const build = () => createModel(name);
  if (input === undefined) return countNetwork(name, build, { rule });
  return asUsage(`--input ${input} for ${name}`, () => countNetwork(name, build, { rule, size: input }));
}

/** The module trees of the models among the networks; a cfg has layers only, which the page lists. */
function moduleTrees({ model, modules, input }: Options, columns: number): string {
  if (modules === undefined) return "";
  const trees = model
    .filter((name) => !name.endsWith(".cfg"))
    .flatMap((name) => {
      const network = withoutValues(() => createModel(name));
      const [channels, height, width] = network.defaultInput;
      const shape = [1, channels, input ?? height, input ?? width];
      return ["", name, ...summary(network, shape, { depth: modules }).lines({ columns })];
    });
  return `${trees.join("\n")}\n`;
}

async function main(): Promise<number> {
  const options: Options = command.parse().opts();
  if (options.list) {
    const lines = listModels().map((name) => `${name.padEnd(26)} ${modelEntry(name).summary}\n`);
    process.stdout.write(lines.join(""));
    return 0;
  }
  if (options.model.length === 0)
    throw new UsageError("--model names no network; give at least one, --list has them");
  await prepareFolder("--out", options.out);
  const networks: CountedNetwork[] = [];
  for (const name of options.model)
    networks.push(name.endsWith(".cfg") ? await countFile(name, options) : countModel(name, options));
  const report = costReport(networks);
  const [page, data] = ["cost.html", "cost.json"].map((file) => join(options.out, file));
  const text = `${JSON.stringify(report, null, 2)}\n`;
  await writeFilesAtomically(
    new Map([
      [page, renderCostPage(report)],
      [data, text],
    ]),
  );
  if (options.json) process.stdout.write(text);
  if (options.quiet) return 0;
  const people = options.json ? process.stderr : process.stdout;
  const columns = people.columns || 100;
  people.write(renderCostTable(report, columns) + moduleTrees(options, columns));
  people.write(`\nFigures: ${page} (open it in a browser), ${data}\n`);
  return 0;
}

await runCommand(main);
