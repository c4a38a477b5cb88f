/**
 * `npx tsx scripts/onnxOutputs.ts [network…]`: writes docs/onnx-outputs.md, how far the outputs of every network's ONNX
 * file lie from its own, by onnxruntime-node and by our import. Needs `npm ci --prefix bench --ignore-scripts`. Ends with
 * exit code 1 where a difference is beyond the bound. Networks named on the command line are printed, not written.
 */
import path from "node:path";
import { copyInto, mul } from "../src/autograd/index.ts";
import {
  crossEntropy,
  manualSeed,
  nn,
  noGrad,
  optim,
  randn,
  scope,
  type Tensor,
  tensor,
} from "../src/index.ts";
import { writeFilesAtomically } from "../src/io/atomicFiles.ts";
import { exportOnnx, importOnnx } from "../src/io/index.ts";
import { createModel, listModels, type Network } from "../src/models/index.ts";
import { loadOnnxRuntime, type OnnxRuntime } from "../test/support/onnxRuntime.ts";

const bound = 1e-4;
const side = 96;
const trainingBatch = 8;
const testBatch = 2;
const steps = 20;
/** The highest learning rate: half of the steps lead up to it, half down again. */
const highestLr = 0.05;

/** Some steps on random images, so that the weights are no longer those that were drawn. */
function train(model: Network): void {
  const optimizer = new optim.SGD(model.train().parameters(), { lr: 0, momentum: 0.9, weightDecay: 1e-4 });
  const labels = Array.from({ length: trainingBatch }, (_, i) => (137 * i) % model.classes);
  for (let step = 0; step < steps; step++)
    scope(() => {
      optimizer.zeroGrad();
      optimizer.lr = highestLr * (1 - Math.abs((2 * (step + 0.5)) / steps - 1));
      const logits = model.forward(randn([trainingBatch, 3, side, side]));
      crossEntropy(logits, tensor(labels, { dtype: "i32" })).backward();
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
      model.train().forward(randn([trainingBatch, 3, side, side]));
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

async function compare(name: string, model: Network, images: Tensor, run: OnnxRuntime): Promise<Difference> {
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
  const images = randn([testBatch, 3, side, side]);
  const created = await compare(name, model, images, run);
  train(model);
  takeStatistics(model);
  const trained = await compare(name, model, images, run);
  for (const parameter of model.parameters()) parameter.dispose();
  return { created, trained };
}

const row = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
const short = (value: number): string => (value === 0 ? "0" : value.toExponential(1));

/** Whether both programs give the network's outputs, to the bound: absolute up to 1, relative to the largest beyond. */
const agrees = ({ created, trained }: { created: Difference; trained: Difference }): boolean =>
  [created, trained].every(
    ({ largest, onnxruntime, imported }) => Math.max(onnxruntime, imported) <= bound * Math.max(1, largest),
  );

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
const absolute = results.filter(({ trained }) => trained.onnxruntime <= bound).length;
const relative = ({ largest, onnxruntime }: Difference): number => onnxruntime / Math.max(1, largest);
const worst = Math.max(...results.flatMap(({ created, trained }) => [relative(created), relative(trained)]));

const page = `# What exported ONNX files give

The outputs of every network that \`createModel\` knows, at full width on ${testBatch} random images of ${side} x ${side}, against those of its
exported file (opset 17, open batch) in onnxruntime-node, and of its own import of that file: the largest output, and the
largest difference. "Trained" is after ${steps} steps of SGD on random images, with the running statistics of one batch.
"Created" is the network as it was drawn: nothing has measured its activations yet, and those of residual networks grow
with every block. The bound is ${short(bound)}, of the largest output where that is more than 1: ${agreeing} of ${results.length} networks keep it in both
states, and the furthest from onnxruntime is ${short(worst)} of its largest output. Trained, ${absolute} keep the bound whatever their largest
output is.

Written by \`npx tsx scripts/onnxOutputs.ts\`.

${row(["network", "trained: largest output", "onnxruntime", "import", "created: largest output", "onnxruntime", "import"])}
${row(["---", "---:", "---:", "---:", "---:", "---:", "---:"])}
${results.map(({ created, trained }) => row([trained.name, ...cellsOf(trained), ...cellsOf(created)])).join("\n")}
`;
const pagePath = path.resolve(import.meta.dirname, "../docs/onnx-outputs.md");
if (chosen.length === 0) await writeFilesAtomically(new Map([[pagePath, page]]));
process.exitCode = agreeing === results.length ? 0 : 1;
