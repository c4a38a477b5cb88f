/**
 * TensorFlow.js on its plain and its WebAssembly backend. One thread: the plain backend has no other, and the
 * WebAssembly one refuses threads outside browsers.
 */
import { importPeer, installedVersion, type Library, type Workload } from "./library.ts";
import {
  type ConvolutionTask,
  noise,
  outputShape,
  type PoolingTask,
  sizeOf,
  squaredNorm,
  type Task,
} from "./task.ts";
import { type LayersApi, tfjsTrainingStep } from "./tfjsDenseNet.ts";
import { image, kernel, type Tf, type TfTensor } from "./tfjsTensors.ts";
import { installWebGpu, limitsOf } from "./webgpuGlobals.ts";

/** What to do when a run is queued: nothing on a processor, waiting on a GPU. */
let finished: () => void | Promise<void> = () => {};

/** A workload of a function that gives new tensors. */
function workloadOf(tf: Tf, compute: () => TfTensor[], operands: readonly TfTensor[]): Workload {
  return {
    run: () => {
      for (const result of tf.tidy(compute)) result.dispose();
      return finished();
    },
    check: async () => {
      const norms: number[] = [];
      for (const result of tf.tidy(compute)) {
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

function convolution(tf: Tf, task: ConvolutionTask): Workload {
  const { stride, padding, groups, part } = task;
  if (groups > 1) throw new Error("has no convolution with groups");
  if (part !== "forward" && part !== "all")
    throw new Error("computes no gradient of a convolution without its forward pass");
  const x = image(tf, noise(sizeOf(task.x)), task.x);
  const weight = kernel(tf, task.weight);
  const output = outputShape(task);
  const gradient = image(tf, noise(sizeOf(output), 1, 1), output);
  const convolve = (input: TfTensor, window: TfTensor) => tf.conv2d(input, window, stride, padding);
  const compute = {
    forward: () => [convolve(x, weight)],
    all: () => {
      // tf.grads gives the gradients only, so that y is kept by hand.
      let y: TfTensor | undefined;
      const gradients = tf.grads((input, window) => {
        const result = convolve(input, window);
        y = tf.keep(result);
        return result;
      })([x, weight], gradient);
      return y ? [y, ...gradients] : gradients;
    },
  }[part];
  return workloadOf(tf, compute, [x, weight, gradient]);
}

function pooling(tf: Tf, task: PoolingTask): Workload {
  const { kernelSize, stride, padding } = task;
  const x = image(tf, noise(sizeOf(task.x)), task.x);
  const pool = task.kind === "maxPool2d" ? tf.maxPool : tf.avgPool;
  return workloadOf(tf, () => [pool(x, kernelSize, stride, padding)], [x]);
}

function open(tf: Tf & LayersApi, task: Task): Workload {
  if (task.kind === "conv2d") return convolution(tf, task);
  if (task.kind === "step") return tfjsTrainingStep(tf, task);
  if (task.kind === "inference" || task.kind === "batchNorm" || task.part === "backward")
    throw new Error("not written for it");
  if (task.kind === "maxPool2d" || task.kind === "avgPool2d") return pooling(tf, task);
  const x = image(tf, noise(sizeOf(task.x)), task.x);
  const other = image(tf, noise(sizeOf(task.x)), task.x);
  return workloadOf(tf, () => [task.kind === "relu" ? tf.relu(x) : tf.add(x, other)], [x, other]);
}

/** TensorFlow.js on one of its backends, as far as bench/package.json's packages are installed. */
export async function openTfjs(backend: "cpu" | "wasm"): Promise<Library> {
  const tf = await importPeer<Tf & LayersApi>("@tensorflow/tfjs");
  if (backend === "wasm") await importPeer<object>("@tensorflow/tfjs-backend-wasm");
  tf.enableProdMode();
  if (!(await tf.setBackend(backend))) throw new Error(`its ${backend} backend does not start here`);
  return { version: installedVersion("@tensorflow/tfjs"), open: async (task) => open(tf, task) };
}

/** The members of its WebGPU backend that the benchmark calls. */
interface TfWebGpuBackend {
  /** What is not submitted yet. */
  readonly commandEncoder: GPUCommandEncoder | null;
  endComputePassEncoder(): void;
  submitQueue(): void;
  readonly queue: GPUQueue;
}

/** TensorFlow.js on WebGPU, on the adapter that Gradweave uses, with all the limits that it has. */
export async function openTfjsWebGpu(): Promise<Library> {
  const adapter = await installWebGpu();
  const tf = await importPeer<Tf & LayersApi>("@tensorflow/tfjs");
  const { WebGPUBackend } = await importPeer<{
    readonly WebGPUBackend: new (device: GPUDevice, info: GPUAdapterInfo) => TfWebGpuBackend;
  }>("@tensorflow/tfjs-backend-webgpu");
  const device = await adapter.requestDevice({ requiredLimits: limitsOf(adapter) });
  const backend = new WebGPUBackend(device, adapter.info);
  // Its kernels are known by this name, under which it would ask for an adapter of its own.
  tf.removeBackend("webgpu");
  tf.registerBackend("webgpu", () => backend);
  tf.enableProdMode();
  if (!(await tf.setBackend("webgpu"))) throw new Error("its webgpu backend does not start here");
  finished = () => {
    if (backend.commandEncoder) {
      backend.endComputePassEncoder();
      backend.submitQueue();
    }
    return backend.queue.onSubmittedWorkDone().then(() => undefined);
  };
  return {
    version: `${installedVersion("@tensorflow/tfjs-backend-webgpu")} on ${adapter.info.description}`,
    open: async (task) => open(tf, task),
  };
}
