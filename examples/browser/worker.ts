/**
 * Trains off the page's thread, on WebGPU or, where there is none, on the CPU backend. The same library code that runs
 * in Node.
 */
import { GradientRecorder } from "../../src/gradflow/recorder.ts";
import { crossEntropy, manualSeed, optim, scope, setBackend, tensor } from "../../src/index.ts";
import { cspDenseNet, type DenseNet, densenet } from "../../src/models/index.ts";
import type { NetworkName, News, Start } from "./messages.ts";

const pixels = 28 * 28;
const sampleEvery = 5;

const tell = (news: News): void => globalThis.postMessage(news);

/** The asked for backend, or the CPU where it cannot be had. */
async function chooseBackend(wanted: Start["backend"]): Promise<void> {
  if (wanted === "cpu") {
    await setBackend("cpu");
    tell({ kind: "device", text: "the processor" });
    return;
  }
  try {
    const backend = await setBackend("webgpu");
    tell({ kind: "device", text: `WebGPU: ${backend.info().description}` });
  } catch (error) {
    await setBackend("cpu");
    tell({
      kind: "device",
      text: `the processor (${error instanceof Error ? error.message : String(error)})`,
    });
  }
}

interface Training {
  readonly network: NetworkName;
  readonly model: DenseNet;
  readonly optimizer: optim.SGD;
  readonly recorder: GradientRecorder;
}

function training(network: NetworkName, seed: number): Training {
  manualSeed(seed);
  const size = {
    blocks: [3, 3],
    growthRate: 8,
    stemChannels: 16,
    bottleneckWidth: 2,
    inChannels: 1,
    classes: 10,
    stem: "small",
  } as const;
  const model = network === "DenseNet" ? densenet(size) : cspDenseNet(size);
  return {
    network,
    model,
    optimizer: new optim.SGD(model.parameters(), {
      lr: 0.05,
      momentum: 0.9,
      nesterov: true,
      weightDecay: 1e-4,
    }),
    recorder: new GradientRecorder(model, model.stages, { everySteps: sampleEvery }),
  };
}

/** The images of step `step`, walked through in order and normalised as MNIST is. */
function batchOf(
  { images, labels, batchSize }: Start,
  step: number,
): { images: Float32Array; labels: Int32Array } {
  const chosen = Array.from({ length: batchSize }, (_, i) => (step * batchSize + i) % labels.length);
  const values = new Float32Array(batchSize * pixels);
  chosen.forEach((image, i) => {
    for (let p = 0; p < pixels; p++)
      values[i * pixels + p] = (images[image * pixels + p] / 255 - 0.1307) / 0.3081;
  });
  return { images: values, labels: Int32Array.from(chosen, (image) => labels[image]) };
}

async function trainStep(
  { network, model, optimizer, recorder }: Training,
  start: Start,
  step: number,
): Promise<void> {
  const batch = batchOf(start, step);
  const loss = scope(() => {
    optimizer.zeroGrad();
    const images = tensor(batch.images, { shape: [start.batchSize, 1, 28, 28] });
    const measured = recorder.step(step, images, () => {
      const loss = crossEntropy(model.forward(images), tensor(batch.labels, { dtype: "i32" }));
      loss.backward();
      return loss;
    });
    optimizer.step();
    return measured;
  });
  tell({ kind: "step", network, step, loss: await loss.item() });
  loss.dispose();
  if (!recorder.samples(step)) return;
  await recorder.flush();
  const maps = recorder.measured().flatMap(({ name, maps }) =>
    maps.map(({ map, consumers, samples }) => ({
      stage: name,
      map,
      consumers,
      cosine: samples[samples.length - 1].cosine,
    })),
  );
  tell({ kind: "similarity", network, step, maps });
}

async function run(start: Start): Promise<void> {
  await chooseBackend(start.backend);
  const began = performance.now();
  const trainings = (["DenseNet", "CSPDenseNet"] as const).map((network) => training(network, start.seed));
  for (let step = 0; step < start.steps; step++)
    for (const one of trainings) await trainStep(one, start, step);
  tell({ kind: "done", milliseconds: performance.now() - began });
}

globalThis.addEventListener("message", ({ data }: MessageEvent<Start>) => {
  run(data).catch((error: unknown) =>
    tell({ kind: "failed", text: error instanceof Error ? error.message : String(error) }),
  );
});
