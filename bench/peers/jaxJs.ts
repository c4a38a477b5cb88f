/**
 * jax-js on its WebAssembly and its WebGPU backend. Convolutions run eagerly: with `jit` they take longer, since padding then
 * becomes part of the index arithmetic. One thread: its pool needs a browser's Worker.
 */
import { importPeer, installedVersion, type Library, type Workload } from "./library.ts";
import { type ConvolutionTask, initialWeight, noise, outputShape, sizeOf, squaredNorm } from "./task.ts";
import { installWebGpu } from "./webgpuGlobals.ts";

/** Owned by whoever it is passed to; `ref` is another reference. */
interface JaxArray {
  readonly ref: JaxArray;
  reshape(shape: readonly number[]): JaxArray;
  /** The values; takes the reference. */
  data(): Promise<ArrayLike<number>>;
  dispose(): void;
}

type Pullback = ((gradient: JaxArray) => JaxArray[]) & { dispose(): void };

type JaxDevice = "wasm" | "webgpu";

interface Jax {
  init(device: JaxDevice): Promise<readonly string[]>;
  defaultDevice(device: JaxDevice): string;
  blockUntilReady(arrays: readonly JaxArray[]): Promise<unknown>;
  vjp(
    run: (x: JaxArray, weight: JaxArray) => JaxArray,
    inputs: readonly JaxArray[],
  ): readonly [JaxArray, Pullback];
  readonly numpy: { array(values: Float32Array): JaxArray };
  readonly lax: {
    convGeneralDilated(
      x: JaxArray,
      weight: JaxArray,
      strides: readonly number[],
      padding: readonly (readonly [number, number])[],
    ): JaxArray;
  };
}

function convolution(jax: Jax, task: ConvolutionTask): Workload {
  const { stride, padding, groups, part } = task;
  if (groups > 1 || (part !== "forward" && part !== "all"))
    throw new Error("only the forward pass and all gradients together are written for it, without groups");
  const array = (values: Float32Array, shape: readonly number[]) => jax.numpy.array(values).reshape(shape);
  const output = outputShape(task);
  const x = array(noise(sizeOf(task.x)), task.x);
  const weight = array(initialWeight(task.weight), task.weight);
  const gradient = array(noise(sizeOf(output), 1, 1), output);
  const convolve = (image: JaxArray, kernel: JaxArray) =>
    jax.lax.convGeneralDilated(
      image,
      kernel,
      [stride, stride],
      [
        [padding, padding],
        [padding, padding],
      ],
    );
  const compute = async () => {
    if (part === "forward") {
      const results = [convolve(x.ref, weight.ref)];
      await jax.blockUntilReady(results);
      return results;
    }
    const [y, pullback] = jax.vjp(convolve, [x.ref, weight.ref]);
    const results = [y, ...pullback(gradient.ref)];
    pullback.dispose();
    await jax.blockUntilReady(results);
    return results;
  };
  return {
    run: async () => {
      for (const result of await compute()) result.dispose();
    },
    check: async () => {
      const values = await Promise.all((await compute()).map((result) => result.data()));
      return values.map(squaredNorm);
    },
    dispose: () => {
      for (const operand of [x, weight, gradient]) operand.dispose();
    },
  };
}

/** jax-js on one of its devices, as far as bench/package.json's packages are installed. */
export async function openJaxJs(device: JaxDevice): Promise<Library> {
  if (device === "webgpu") await installWebGpu();
  const jax = await importPeer<Jax>("@jax-js/jax");
  const devices = await jax.init(device);
  if (!devices.includes(device)) throw new Error(`has no ${device} device here, only ${devices.join(", ")}`);
  jax.defaultDevice(device);
  return {
    version: installedVersion("@jax-js/jax"),
    open: async (task) => {
      if (task.kind !== "conv2d") throw new Error("only convolutions are written for it");
      return convolution(jax, task);
    },
  };
}
