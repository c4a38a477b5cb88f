/**
 * `npx tsx scripts/onnxOutputs.ts [network…]`: writes docs/onnx-outputs.md, how far the outputs of every network's ONNX
 * file lie from its own, by onnxruntime-node and by our import. Needs `npm ci --prefix bench --ignore-scripts`. Ends with
 * exit code 1 where a difference is beyond the bound. Networks named on the command line are printed, not written.
 */
import path from "node:path";
import { copyInto, mul } from "../src/autograd/index.ts";
import { networkInput, openImages, resize } from "../src/data/index.ts";
import { crossEntropy, manualSeed, nn, noGrad, optim, scope, type Tensor, tensor } from "../src/index.ts";
import { writeFilesAtomically } from "../src/io/atomicFiles.ts";
import { exportOnnx, importOnnx } from "../src/io/index.ts";
import { createModel, listModels, type Network } from "../src/models/index.ts";
import { loadOnnxRuntime, type OnnxRuntime } from "../test/support/onnxRuntime.ts";

const bound = 1e-4;
const side = 96;
const trainingBatch = 16;
const testBatch = 2;
const steps = 20;
/** Twenty steps are no time for a warm-up: at 0.05 the logits of deep residual networks pass 1,000. */
const lr = 0.002;
const normalisation = { mean: Array(3).fill(0.1307), std: Array(3).fill(0.3081) };

interface Batch {
  /** [N, 3, side, side] */
  readonly images: Tensor;
  /** [N] */
  readonly labels: Tensor;
}

const { train: digits, validation } = await openImages("mnist");

/** So many handwritten digits, from the first on that is given. */
async function batchOf(source: typeof digits, first: number, count: number): Promise<Batch> {
  const indices = Array.from({ length: count }, (_, i) => first + i);
  const plane = 3 * side * side;
  const values = new Float32Array(count * plane);
  for (const [i, index] of indices.entries())
    values.set(networkInput(resize(await source.read(index), side, side), normalisation), i * plane);
  const labels = tensor(
    indices.map((index) => source.labels[index]),
    { dtype: "i32" },
  );
  return { images: tensor(values, { shape: [count, 3, side, side] }), labels };
}

const batches: Batch[] = [];
for (let step = 0; step <= steps; step++)
  batches.push(await batchOf(digits, step * trainingBatch, trainingBatch));
const { images } = await batchOf(validation, 0, testBatch);

/** Trains a little, so that the weights are no longer those that were drawn. */
function train(model: Network): void {
  const optimizer = new optim.SGD(model.train().parameters(), { lr, momentum: 0.9, weightDecay: 1e-4 });
  for (const batch of batches.slice(0, steps))
    scope(() => {
      optimizer.zeroGrad();
      crossEntropy(model.forward(batch.images), batch.labels).backward();
      optimizer.step();
    });
}

/** Makes the running statistics those of one batch: after a few steps they are still half of what they began with. */
function takeStatistics(model: Network): void {
  const norms = [...model.namedModules().values()].filter((module) => module instanceof nn.BatchNorm2d);
  const running = norms.flatMap((norm) =>
    ["running_mean", "running_var"].map((name) => ({ target: norm.buffer(name), momentum: norm.momentum })),
  );
  noGrad(() =>
    scope(() => {
      for (const { target } of running) copyInto(target, mul(target, 0));
      model.train().forward(batches[steps].images);
      for (const { target, momentum } of running) copyInto(target, mul(target, 1 / momentum));
    }),
  );
}

interface Difference {
  readonly name: string;
  /** The largest output, by magnitude. */
  readonly largest: number;
  readonly onnxruntime: number;
  readonly imported: number;
}

const largestOf = (values: ArrayLike<number>): number =>
  Array.from(values).reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);

const furthest = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  largestOf(Array.from(a, (value, i) => value - b[i]));

async function compare(name: string, model: Network, run: OnnxRuntime): Promise<Difference> {
  model.eval();
  const file = exportOnnx(model, images, { dynamicBatch: true });
  const outputsOf = (module: nn.Module) => scope(() => noGrad(() => module.forward(images)).dataSync());
  const own = outputsOf(model);
  const { data } = await run(file, [images]);
  const again = await importOnnx(file);
  const difference = {
    ...{ name, largest: largestOf(own) },
    ...{ onnxruntime: furthest(own, data), imported: furthest(own, outputsOf(again)) },
  };
  for (const parameter of again.parameters()) parameter.dispose();
  return difference;
}

async function measure(
  name: string,
  run: OnnxRuntime,
): Promise<{ created: Difference; trained: Difference }> {
  manualSeed(1);
  const model = createModel(name);
  const created = await compare(name, model, run);
  train(model);
  takeStatistics(model);
  const trained = await compare(name, model, run);
  for (const parameter of model.parameters()) parameter.dispose();
  return { created, trained };
}

const row = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
const short = (value: number): string => (value === 0 ? "0" : value.toExponential(1));

const furthestOf = ({ onnxruntime, imported }: Difference): number => Math.max(onnxruntime, imported);
const relative = (difference: Difference): number => furthestOf(difference) / Math.max(1, difference.largest);

/** Whether both programs give the trained network's outputs to the bound, and the created one's relative to the largest. */
const agrees = ({ created, trained }: { created: Difference; trained: Difference }): boolean =>
  furthestOf(trained) <= bound && relative(created) <= bound;

const cellsOf = ({ largest, onnxruntime, imported }: Difference): string[] =>
  [largest, onnxruntime, imported].map(short);

const runtime = loadOnnxRuntime();
if (!runtime) throw new Error("onnxOutputs: needs onnxruntime-node; npm ci --prefix bench --ignore-scripts");
const chosen = process.argv.slice(2);
const results: { created: Difference; trained: Difference }[] = [];
for (const name of chosen.length > 0 ? chosen : listModels()) {
  const result = await measure(name, runtime);
  results.push(result);
  console.log(row([name, ...cellsOf(result.trained), ...cellsOf(result.created), String(agrees(result))]));
}
const agreeing = results.filter(agrees).length;
const trained = results.filter((result) => furthestOf(result.trained) <= bound).length;
const [worstTrained, worstCreated] = [
  Math.max(...results.map(({ trained }) => furthestOf(trained))),
  Math.max(...results.map(({ created }) => relative(created))),
];

const page = `# What exported ONNX files give

The outputs of every network that \`createModel\` knows, at full width on ${testBatch} of MNIST's test images, drawn as ${side} x ${side}
photographs, against those of its exported file (opset 17, open batch) in onnxruntime-node, and of its own import of that
file: the largest output, and the largest difference.

- **Trained:** after ${steps} steps of SGD on ${trainingBatch} digits each (learning rate ${lr}), with the running statistics of one
  batch. ${trained} of ${results.length} networks agree to ${short(bound)}; the furthest difference is ${short(worstTrained)}.
- **Created:** as it was drawn. Nothing has measured its activations yet, and those of residual networks grow with every
  block, so that the difference is to be seen beside the largest output: it is at most ${short(worstCreated)} of that.

Written by \`npx tsx scripts/onnxOutputs.ts\`.

${row(["network", "trained: largest output", "onnxruntime", "import", "created: largest output", "onnxruntime", "import"])}
${row(["---", "---:", "---:", "---:", "---:", "---:", "---:"])}
${results.map(({ created, trained }) => row([trained.name, ...cellsOf(trained), ...cellsOf(created)])).join("\n")}
`;
const pagePath = path.resolve(import.meta.dirname, "../docs/onnx-outputs.md");
if (chosen.length === 0) await writeFilesAtomically(new Map([[pagePath, page]]));
process.exitCode = agreeing === results.length ? 0 : 1;
