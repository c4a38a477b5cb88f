/**
 * jax-js on its WebAssembly backend. Convolutions run eagerly: with `jit` they take longer, since padding then
 * becomes part of the index arithmetic.
 */
import {
  type ConvCase,
  type ConvPart,
  chirp,
  chirpWeight,
  importPeer,
  installedVersion,
  outputShape,
  type Peer,
  type PeerSource,
  sizeOf,
  squaredNorm,
  type Workload,
} from "./peer.ts";

/** Owned by whoever it is passed to; `ref` is another reference. */
interface JaxArray {
  readonly ref: JaxArray;
  reshape(shape: readonly number[]): JaxArray;
  /** The values; takes the reference. */
  data(): Promise<ArrayLike<number>>;
  dispose(): void;
}

type Pullback = ((gradient: JaxArray) => JaxArray[]) & { dispose(): void };

interface Jax {
  init(device: "wasm"): Promise<readonly string[]>;
  defaultDevice(device: "wasm"): string;
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

function conv2dWorkload(jax: Jax, shapes: ConvCase, part: ConvPart): Workload {
  const { stride, padding } = shapes;
  const array = (values: Float32Array, shape: readonly number[]) => jax.numpy.array(values).reshape(shape);
  const output = outputShape(shapes);
  const x = array(chirp(sizeOf(shapes.x)), shapes.x);
  const weight = array(chirpWeight(shapes.weight), shapes.weight);
  const gradient = array(chirp(sizeOf(output)), output);
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
  const pass = {
    forward: () => [convolve(x.ref, weight.ref)],
    gradients: () => {
      const [y, pullback] = jax.vjp(convolve, [x.ref, weight.ref]);
      const gradients = pullback(gradient.ref);
      pullback.dispose();
      return [y, ...gradients];
    },
  }[part];
  return {
    run: async () => {
      const start = performance.now();
      const results = pass();
      await jax.blockUntilReady(results);
      const milliseconds = performance.now() - start;
      const values = await Promise.all(results.map((result) => result.data()));
      return { milliseconds, result: values.map(squaredNorm) };
    },
    dispose: () => {
      for (const operand of [x, weight, gradient]) operand.dispose();
    },
  };
}

const name = "jax-js wasm";

async function open(): Promise<Peer> {
  const jax = await importPeer<Jax>("@jax-js/jax");
  const devices = await jax.init("wasm");
  if (!devices.includes("wasm")) throw new Error(`has no wasm device here, only ${devices.join(", ")}`);
  jax.defaultDevice("wasm");
  return {
    name,
    version: installedVersion("@jax-js/jax"),
    // Its pool needs a browser's Worker.
    threads: 1,
    conv2d: async (shapes, part) => conv2dWorkload(jax, shapes, part),
    trainingStep: async () => {
      throw new Error("has neither batch norm nor layers; the network is not written for it");
    },
    close: () => {},
  };
}

export const jaxJs: PeerSource = { name, open };
