/**
 * TensorFlow.js on its plain ("cpu") or WebAssembly backend: `tf.conv2d` and `tf.grads`, and a network of `tf.layers`.
 * Its images are [N, H, W, C] and its weights [R, S, C, K]; tensors are turned before the clock starts.
 */
import {
  type ConvCase,
  type ConvPart,
  chirp,
  importPeer,
  installedVersion,
  outputShape,
  type Peer,
  type PeerSource,
  sizeOf,
  squaredNorm,
  type Workload,
} from "./peer.ts";
import { type LayersApi, tfjsTrainingStep } from "./tfjsDenseNet.ts";
import { image, kernel, type Tf, type TfTensor } from "./tfjsTensors.ts";

function conv2dWorkload(tf: Tf, backend: string, shapes: ConvCase, part: ConvPart): Workload {
  const output = outputShape(shapes);
  const x = image(tf, chirp(sizeOf(shapes.x)), shapes.x);
  const weight = kernel(tf, shapes.weight);
  const gradient = image(tf, chirp(sizeOf(output)), output);
  const convolve = (input: TfTensor, window: TfTensor) =>
    tf.conv2d(input, window, shapes.stride, shapes.padding);
  const pass = {
    forward: () => [convolve(x, weight)],
    gradients: () => {
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
  return {
    run: async () => {
      await tf.setBackend(backend);
      const start = performance.now();
      const results = tf.tidy(pass);
      const milliseconds = performance.now() - start;
      const norms = results.map((result) => squaredNorm(result.dataSync()));
      for (const result of results) result.dispose();
      return { milliseconds, result: norms };
    },
    dispose: () => {
      for (const operand of [x, weight, gradient]) operand.dispose();
    },
  };
}

async function open(name: string, backend: "cpu" | "wasm"): Promise<Peer> {
  const tf = await importPeer<Tf & LayersApi>("@tensorflow/tfjs");
  if (backend === "wasm") await importPeer<object>("@tensorflow/tfjs-backend-wasm");
  tf.enableProdMode();
  if (!(await tf.setBackend(backend))) throw new Error(`its ${backend} backend does not start here`);
  return {
    name,
    version: installedVersion("@tensorflow/tfjs"),
    // The plain backend has no threads, and the WebAssembly one refuses them outside browsers.
    threads: 1,
    conv2d: async (shapes, part) => {
      await tf.setBackend(backend);
      return conv2dWorkload(tf, backend, shapes, part);
    },
    trainingStep: async (config) => {
      await tf.setBackend(backend);
      return tfjsTrainingStep(tf, backend, config);
    },
    close: () => {},
  };
}

/** TensorFlow.js on one of its backends. */
export function tfjs(backend: "cpu" | "wasm"): PeerSource {
  const name = `tfjs ${backend}`;
  return { name, open: () => open(name, backend) };
}
