/**
 * `npx tsx scripts/trainingMemory.ts`: writes docs/training-memory.md, what a training step of every network takes, predicted
 * and measured. Every network trains three steps in a process of its own, one after the other; finished measurements
 * are kept in reports/, so that a run that was stopped goes on.
 */
import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { cpus } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { z } from "zod";
import { trainingMemory } from "../src/graph/index.ts";
import { Generator, manualSeed, nn, optim } from "../src/index.ts";
import { writeFilesAtomically } from "../src/io/atomicFiles.ts";
import { createModel, listModels, type Network } from "../src/models/index.ts";
import { prepareFolder, TrainingRun } from "../src/train/index.ts";

const root = path.resolve(import.meta.dirname, "..");
const pagePath = path.join(root, "docs/training-memory.md");
const keptPath = path.join(root, "reports/training-memory.json");

const steps = 3;
const lr = 0.001;
const largeBatch = 8;
/** Photographs a step in the measurements with and without checkpoint. */
const comparedBatch = 4;

const measurement = z.object({
  losses: z.array(z.number()),
  peakBytes: z.number(),
  residentBytes: z.number(),
});
type Measurement = z.infer<typeof measurement>;

const checkpointStages = (model: Network) =>
  nn.checkpointModules(
    model,
    model.stages.flatMap(({ paths }) => paths),
  );

/** Peak bytes of a step, or null where the network does not take so small a batch. */
function predict(model: Network, batch: number): number | null {
  try {
    return trainingMemory(model, [[batch, ...model.defaultInput]]).peakBytes;
  } catch {
    return null;
  }
}

function predictions(name: string) {
  const model = createModel(name);
  const batch = [1, 2, 4].find((candidate) => predict(model, candidate) !== null) ?? largeBatch;
  const plain = [predict(model, batch), predict(model, largeBatch)];
  checkpointStages(model);
  const checkpointed = [predict(model, batch), predict(model, largeBatch)];
  return {
    name,
    parameters: model.parameterCount(),
    side: model.defaultInput[1],
    batch,
    plain,
    checkpointed,
  };
}

type Prediction = ReturnType<typeof predictions>;

/** Trains a network on the same random images again and again; runs in a process of its own. */
async function measure(name: string, batch: number, checkpointed: boolean): Promise<Measurement> {
  manualSeed(0);
  const model = createModel(name);
  if (checkpointed) checkpointStages(model);
  const [channels, height, width] = model.defaultInput;
  const images = new Float32Array(batch * channels * height * width);
  new Generator(1).normal(images);
  const labels = Int32Array.from({ length: batch }, (_, i) => (137 * i) % model.classes);
  const optimizer = new optim.SGD(model.parameters(), { lr, momentum: 0.9, weightDecay: 0.0005 });
  const run = new TrainingRun({ name, model, optimizer });
  for (let index = 0; index < steps; index++)
    await run.step({ images, labels, count: batch, shape: [batch, channels, height, width], index });
  return {
    losses: run.records.map(({ loss }) => loss),
    peakBytes: run.peakBytes,
    residentBytes: process.resourceUsage().maxRSS * 1024,
  };
}

const run = promisify(execFile);

/** The measurement of another process, or the one that was kept. */
async function measured(
  kept: Record<string, Measurement>,
  name: string,
  batch: number,
  checkpointed: boolean,
): Promise<Measurement> {
  const key = `${name}, batch ${batch}${checkpointed ? ", checkpointed" : ""}`;
  if (kept[key]) return kept[key];
  const args = ["--import", "tsx", import.meta.filename, name, String(batch), String(checkpointed)];
  const { stdout } = await run(process.execPath, args, { cwd: root });
  const result = measurement.parse(JSON.parse(stdout));
  kept[key] = result;
  await writeFilesAtomically(new Map([[keptPath, JSON.stringify(kept)]]));
  process.stderr.write(`${key}: losses ${result.losses.map((loss) => loss.toFixed(3)).join(", ")}\n`);
  return result;
}

const megabytes = (bytes: number | null): string => (bytes === null ? "—" : (bytes / 1e6).toFixed(0));
const row = (cells: readonly (string | number)[]): string => `| ${cells.join(" | ")} |`;

function render(
  predicted: readonly Prediction[],
  trained: ReadonlyMap<string, Measurement>,
  largest: readonly {
    readonly name: string;
    readonly plain: Measurement;
    readonly checkpointed: Measurement;
  }[],
): string {
  const falling = [...trained.values()].filter(({ losses }) =>
    losses.every((loss, i) => i === 0 || loss < losses[i - 1] || loss === 0),
  );
  return `# Memory of a training step

Every network that \`createModel\` knows, at full width on images of its default size, in MB (10⁶ bytes): the peak of a
step of SGD with momentum, weights, gradients and momentum included, as \`trainingMemory\` predicts it before anything is
computed, without and with \`checkpointModules\` over the network's stages (\`examples/train.ts --checkpoint\`).
"Measured" is what the tensors of ${steps} real steps had in use at most, with the smallest batch that the network takes, and
what the loss was at these steps (always the same random images, learning rate ${lr}): of ${trained.size} networks
it falls at every step, or has reached 0, for ${falling.length}. Kernels' workspace and Node itself come on top.

Written by \`npx tsx scripts/trainingMemory.ts\` on Node ${process.version}, ${cpus()[0]?.model ?? "an unknown processor"}, ${cpus().length} threads.

${row(["network", "parameters (M)", "image", "batch", "predicted", "with checkpoint", "measured", "losses", `batch ${largeBatch}`, `batch ${largeBatch} with checkpoint`])}
${row(["---", "---:", "---:", "---:", "---:", "---:", "---:", "---", "---:", "---:"])}
${predicted
  .map(({ name, parameters, side, batch, plain, checkpointed }) => {
    const real = trained.get(name);
    const losses = real?.losses.map((loss) => loss.toFixed(3)).join(", ") ?? "";
    return row([
      ...[name, (parameters / 1e6).toFixed(2), side, batch, megabytes(plain[0]), megabytes(checkpointed[0])],
      ...[megabytes(real?.peakBytes ?? null), losses, megabytes(plain[1]), megabytes(checkpointed[1])],
    ]);
  })
  .join("\n")}

## The largest, with and without checkpoint

Measured with batches of ${comparedBatch}. "Process" is the most that the whole process had in memory: Node, the compiler of
TypeScript, kernels' workspace and memory that is kept for the next step come on top of the tensors, and hide much of what
checkpoints save. Losses are the same to the last bit with and without.

${row(["network", "without", "process", "with checkpoint", "process", "saved"])}
${row(["---", "---:", "---:", "---:", "---:", "---:"])}
${largest
  .map(({ name, plain, checkpointed }) => {
    const cells = ({ peakBytes, residentBytes }: Measurement) => [
      megabytes(peakBytes),
      megabytes(residentBytes),
    ];
    const saved = `${(100 * (1 - checkpointed.peakBytes / plain.peakBytes)).toFixed(0)} %`;
    return row([name, ...cells(plain), ...cells(checkpointed), saved]);
  })
  .join("\n")}
`;
}

async function writePage(): Promise<void> {
  await prepareFolder("reports", path.dirname(keptPath));
  const kept = existsSync(keptPath)
    ? z.record(z.string(), measurement).parse(JSON.parse(readFileSync(keptPath, "utf8")))
    : {};
  const predicted = listModels().map(predictions);
  const size = ({ plain }: Prediction) => plain[1] ?? 0;
  const four = [...predicted].sort((a, b) => size(b) - size(a)).slice(0, 4);
  const largest: { name: string; plain: Measurement; checkpointed: Measurement }[] = [];
  for (const { name } of four) {
    const plain = await measured(kept, name, comparedBatch, false);
    const checkpointed = await measured(kept, name, comparedBatch, true);
    if (plain.losses.join() !== checkpointed.losses.join())
      throw new Error(`${name}: its losses differ with checkpoints`);
    largest.push({ name, plain, checkpointed });
  }
  const trained = new Map<string, Measurement>();
  for (const { name, batch } of predicted) trained.set(name, await measured(kept, name, batch, false));
  await writeFilesAtomically(new Map([[pagePath, render(predicted, trained, largest)]]));
}

const [name, batch, checkpointed] = process.argv.slice(2);
if (name === undefined) await writePage();
else process.stdout.write(JSON.stringify(await measure(name, Number(batch), checkpointed === "true")));
