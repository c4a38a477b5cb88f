/**
 * The WebGPU table: convolutions and training steps beside other libraries on the same adapter, what a step costs
 * JavaScript, and what it costs when it is recorded and replayed.
 */
import { performance } from "node:perf_hooks";
import { WebGpuBackend } from "../src/backends/webgpu/backend.ts";
import {
  crossEntropy,
  defaultBackend,
  optim,
  randint,
  randn,
  recordStep,
  scope,
  setBackend,
  setDefaultBackend,
} from "../src/index.ts";
import { cspDenseNet, densenet } from "../src/models/index.ts";
import { alternate, type Comparison } from "./alternate.ts";
import { convolution, type Layer } from "./layers.ts";
import { denseNet121, exampleNetwork } from "./networks.ts";
import { quantile } from "./paired.ts";
import { PeerSet } from "./peerSet.ts";
import type { PeerName } from "./peers/peer.ts";
import type { NetworkSize, Task } from "./peers/task.ts";
import { measureWebGpuCeiling, type WebGpuCeiling } from "./webgpuCeilings.ts";

export interface WebGpuFigure extends Comparison {
  readonly subject: string;
  readonly operations: number;
}

/** One network's step, alone. */
export interface WebGpuStepCost {
  readonly network: string;
  /** Kernels launched. */
  readonly kernels: number;
  /** Of a whole step, until the device is done. */
  readonly milliseconds: number;
  /** Of it, until the step is queued: what JavaScript takes. */
  readonly javaScript: number;
  /** The same of a replay. */
  readonly replayMilliseconds: number;
  readonly replayJavaScript: number;
}

export interface WebGpuResults {
  readonly adapter: string;
  readonly ceiling: WebGpuCeiling;
  readonly figures: readonly WebGpuFigure[];
  readonly steps: readonly WebGpuStepCost[];
}

const peers: readonly PeerName[] = ["Gradweave WebGPU", "tfjs WebGPU", "jax-js WebGPU", "PyTorch CUDA"];

/** Layers of the example on a software adapter, of DenseNet-121 at batch 32 on a GPU. */
function layersFor(software: boolean): Layer[] {
  const parts = ["forward", "all"] as const;
  if (software)
    return [
      ...convolution("the example", [16, 16, 14, 14], 8, { window: 3 }, parts),
      ...convolution("the example", [16, 40, 14, 14], 16, { window: 1 }, parts),
      ...convolution("medium", [4, 64, 28, 28], 64, { window: 3 }, parts),
      ...convolution("medium", [4, 128, 14, 14], 128, { window: 1 }, parts),
    ];
  const dense = "DenseNet-121, batch 32";
  return [
    ...convolution(dense, [32, 256, 56, 56], 128, { window: 1 }),
    ...convolution(dense, [32, 512, 28, 28], 128, { window: 1 }),
    ...convolution(dense, [32, 1024, 14, 14], 512, { window: 1 }),
    ...convolution(dense, [32, 128, 56, 56], 32, { window: 3 }),
    ...convolution(dense, [32, 128, 28, 28], 32, { window: 3 }),
    ...convolution(dense, [32, 128, 14, 14], 32, { window: 3 }),
    ...convolution("large", [32, 64, 56, 56], 64, { window: 3 }, ["forward", "all"]),
  ];
}

async function compare(software: boolean, quick: boolean): Promise<WebGpuFigure[]> {
  const set = new PeerSet();
  const figures: WebGpuFigure[] = [];
  const measure = async (subject: string, operations: number, task: Task, checks: number): Promise<void> => {
    const opened = await set.all(peers, 1);
    const how = quick ? { rounds: 3, budget: 4000, checks } : { rounds: 9, budget: 20_000, checks };
    figures.push({ subject, operations, ...(await alternate(subject, task, opened, how)) });
  };
  try {
    for (const { name, operations, task } of layersFor(software)) await measure(name, operations, task, 1);
    const network: NetworkSize = software ? exampleNetwork : { ...denseNet121, batch: 32 };
    const name = software
      ? "training step of the example's DenseNet, batch 16"
      : "training step of DenseNet-121, batch 32";
    await measure(name, 0, { ...network, kind: "step", lr: 0.01, momentum: 0.9 }, software ? 2 : 1);
  } finally {
    await set.close();
  }
  return figures;
}

async function stepCost(
  name: string,
  size: NetworkSize,
  backend: WebGpuBackend,
  quick: boolean,
): Promise<WebGpuStepCost> {
  const { fusion, batch, extent, inChannels, classes, ...rest } = size;
  const options = { ...rest, inChannels, classes };
  const model = fusion ? cspDenseNet({ ...options, fusion }) : densenet(options);
  const optimizer = new optim.SGD(model.parameters(), { lr: 0.01, momentum: 0.9 });
  const images = randn([batch, inChannels, extent, extent]);
  const labels = randint(0, classes, [batch]);
  const step = () => {
    optimizer.zeroGrad();
    const loss = crossEntropy(model.forward(images), labels);
    loss.backward();
    optimizer.step();
    return loss;
  };
  const timed = async (body: () => void): Promise<{ all: number; queued: number }> => {
    // Node compiles what runs often for seconds: until then JavaScript takes two to three times as long.
    const warm = performance.now() + (quick ? 1000 : 8000);
    while (performance.now() < warm) {
      body();
      await backend.synchronize();
    }
    const all: number[] = [];
    const queued: number[] = [];
    for (let i = 0; i < (quick ? 3 : 7); i++) {
      await backend.synchronize();
      const start = performance.now();
      body();
      queued.push(performance.now() - start);
      await backend.synchronize();
      all.push(performance.now() - start);
    }
    return { all: quantile(all, 0.5), queued: quantile(queued, 0.5) };
  };
  // Twice, so that shaders are compiled and the optimizer's state is there.
  for (let i = 0; i < 2; i++) scope(() => void step());
  const before = backend.counters.kernels;
  scope(() => void step());
  const kernels = backend.counters.kernels - before;
  const plain = await timed(() => scope(() => void step()));
  const recorded = recordStep(() => scope(step));
  const replayed = await timed(recorded.replay);
  recorded.dispose();
  return {
    network: name,
    kernels,
    milliseconds: plain.all,
    javaScript: plain.queued,
    replayMilliseconds: replayed.all,
    replayJavaScript: replayed.queued,
  };
}

/** Measures everything on the adapter of GRADWEAVE_WEBGPU_ADAPTER. */
export async function benchWebGpu(quick: boolean): Promise<WebGpuResults> {
  const before = defaultBackend();
  const backend = await setBackend("webgpu");
  if (!(backend instanceof WebGpuBackend))
    throw new Error("bench: setBackend gave another backend than WebGPU");
  try {
    const adapter = backend.info().description;
    const software = /software/.test(adapter);
    const ceiling = await measureWebGpuCeiling(backend.runtime, software);
    const networks: [string, NetworkSize][] = [["the example's DenseNet, batch 16", exampleNetwork]];
    networks.push(
      software
        ? ["DenseNet-121, two images of 32 x 32", { ...denseNet121, batch: 2, extent: 32 }]
        : ["DenseNet-121, batch 32", { ...denseNet121, batch: 32 }],
    );
    const steps: WebGpuStepCost[] = [];
    for (const [name, size] of networks) steps.push(await stepCost(name, size, backend, quick));
    return { adapter, ceiling, steps, figures: await compare(software, quick) };
  } finally {
    setDefaultBackend(before);
  }
}
