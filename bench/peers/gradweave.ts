/** Gradweave itself, in the form of a peer. */

import packageJson from "../../package.json" with { type: "json" };
import { CpuBackend } from "../../src/backends/cpu/index.ts";
import {
  add,
  avgPool2d,
  batchNorm,
  conv2d,
  conv2dInputGradient,
  conv2dWeightGradient,
  crossEntropy,
  defaultBackend,
  grad,
  maxPool2d,
  noGrad,
  ones,
  optim,
  relu,
  scope,
  setBackend,
  type Tensor,
  tensor,
  zeros,
} from "../../src/index.ts";
import { cspDenseNet, type DenseNet, densenet } from "../../src/models/index.ts";
import type { Library, Workload } from "./library.ts";
import {
  type ConvolutionTask,
  type InferenceTask,
  initialWeight,
  type KernelTask,
  type NetworkSize,
  noise,
  outputShape,
  type StepTask,
  sizeOf,
  squaredNorm,
} from "./task.ts";

const noisy = (shape: readonly number[], { requiresGrad = false, seed = 0 } = {}): Tensor =>
  tensor(noise(sizeOf(shape), 1, seed), { shape, requiresGrad });

/** Waits until everything is computed; where nothing can be awaited there is no promise, which would cost something. */
function finished(): void | Promise<void> {
  const backend = defaultBackend();
  return backend instanceof CpuBackend ? backend.settle() : backend.synchronize?.();
}

/** A workload of a function of tensors that are there already. */
function workloadOf(compute: () => readonly Tensor[], operands: readonly Tensor[]): Workload {
  return {
    run: () => {
      scope(() => void compute());
      return finished();
    },
    check: async () => {
      const norms: number[] = [];
      for (const result of scope(() => [...compute()])) {
        norms.push(squaredNorm(await result.data()));
        result.dispose();
      }
      return norms;
    },
    dispose: () => {
      for (const operand of operands) operand.dispose();
    },
  };
}

function convolution(task: ConvolutionTask): Workload {
  const { stride, padding, groups, part } = task;
  const window = { stride, padding, groups };
  const x = noisy(task.x, { requiresGrad: part === "all" });
  const weight = tensor(initialWeight(task.weight), { shape: task.weight, requiresGrad: part === "all" });
  const gradient = noisy(outputShape(task), { seed: 1 });
  const compute = {
    forward: () => [noGrad(() => conv2d(x, weight, window))],
    inputGradient: () => [noGrad(() => conv2dInputGradient(gradient, weight, task.x, window))],
    weightGradient: () => [noGrad(() => conv2dWeightGradient(x, gradient, task.weight, window))],
    all: () => {
      const y = conv2d(x, weight, window);
      return [y, ...grad(y, [x, weight], { gradients: [gradient] })];
    },
  }[part];
  return workloadOf(compute, [x, weight, gradient]);
}

function kernel(task: KernelTask): Workload {
  if (task.kind === "conv2d") return convolution(task);
  const x = noisy(task.x, { requiresGrad: true });
  const channels = [task.x[1]];
  const weight = ones(channels, { requiresGrad: true });
  const bias = zeros(channels, { requiresGrad: true });
  // Apart from x in memory, since a sum of two feature maps is what networks compute.
  const other = noisy(task.kind === "add" ? task.x : []);
  const forward = {
    batchNorm: () => batchNorm(x, weight, bias),
    relu: () => relu(x),
    add: () => add(x, other),
    maxPool2d: () => ("kernelSize" in task ? maxPool2d(x, task) : x),
    avgPool2d: () => ("kernelSize" in task ? avgPool2d(x, task) : x),
  }[task.kind];
  if (task.part === "forward") return workloadOf(() => [noGrad(forward)], [x, other, weight, bias]);
  const y = forward();
  const gradient = noisy(outputShape(task), { seed: 1 });
  const targets = task.kind === "batchNorm" ? [x, weight, bias] : [x];
  const backward = () => grad(y, targets, { gradients: [gradient], retainGraph: true });
  return workloadOf(backward, [x, other, weight, bias, y, gradient]);
}

/** The network with the initial values that every library gives it. */
function build({ fusion, ...size }: NetworkSize): DenseNet {
  const model = fusion ? cspDenseNet({ ...size, fusion }) : densenet(size);
  scope(() => {
    const values = [...model.namedParameters()]
      .filter(([, { shape }]) => shape.length > 1)
      .map(([name, { shape }], seed) => [name, tensor(initialWeight(shape, seed), { shape })] as const);
    model.loadStateDict(new Map(values), { strict: false });
  });
  return model;
}

function trainingStep(task: StepTask): Workload {
  const { batch, extent, inChannels, classes, lr, momentum } = task;
  const model = build(task);
  const parameters = [...model.parameters()];
  const optimizer = new optim.SGD(parameters, { lr, momentum });
  const images = noisy([batch, inChannels, extent, extent]);
  const labels = tensor(
    Array.from({ length: batch }, (_, i) => i % classes),
    { dtype: "i32" },
  );
  const step = (): Tensor => {
    optimizer.zeroGrad();
    const loss = crossEntropy(model.forward(images), labels);
    loss.backward();
    optimizer.step();
    return loss;
  };
  return {
    parameters: parameters.reduce((sum, { size }) => sum + size, 0),
    run: () => {
      scope(() => void step());
      return finished();
    },
    check: async () => [await scope(step).item()],
    dispose: () => {
      for (const operand of [images, labels, ...model.stateDict().values()]) operand.dispose();
    },
  };
}

function inference(task: InferenceTask): Workload {
  const { batch, inChannels, extent } = task;
  const model = build(task).eval();
  const images = noisy([batch, inChannels, extent, extent]);
  const { check, ...workload } = workloadOf(
    () => [noGrad(() => model.forward(images))],
    [images, ...model.stateDict().values()],
  );
  const parameters = [...model.parameters()].reduce((sum, { size }) => sum + size, 0);
  return { ...workload, check, parameters };
}

/** Ours, on the CPU, with the threads of the environment variable GRADWEAVE_THREADS, or on WebGPU. */
export async function openGradweave(backend: "cpu" | "webgpu" = "cpu"): Promise<Library> {
  if (backend === "webgpu") await setBackend("webgpu");
  return {
    version: `${packageJson.version}, ${defaultBackend().info().description}`,
    open: async (task) => {
      if (task.kind === "step") return trainingStep(task);
      return task.kind === "inference" ? inference(task) : kernel(task);
    },
  };
}
