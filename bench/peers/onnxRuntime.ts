/** ONNX Runtime's CPU provider, for inference of a network in a file. */
import { importPeer, installedVersion, type Library, type Workload } from "./library.ts";
import { type InferenceTask, noise, sizeOf, squaredNorm } from "./task.ts";

interface OrtTensor {
  readonly data: ArrayLike<number>;
}

interface OnnxNetwork {
  readonly inputNames: readonly string[];
  run(feeds: Readonly<Record<string, OrtTensor>>): Promise<Readonly<Record<string, OrtTensor>>>;
  release(): Promise<void>;
}

interface Ort {
  readonly InferenceSession: {
    create(file: string, options: Readonly<Record<string, number | string>>): Promise<OnnxNetwork>;
  };
  readonly Tensor: new (type: "float32", data: Float32Array, shape: readonly number[]) => OrtTensor;
}

async function inference(ort: Ort, threads: number, task: InferenceTask): Promise<Workload> {
  if (task.onnx === undefined) throw new Error("needs an ONNX file, which PyTorch writes");
  const network = await ort.InferenceSession.create(task.onnx, {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
  });
  const shape = [task.batch, task.inChannels, task.extent, task.extent];
  const [input = ""] = network.inputNames;
  const feeds = { [input]: new ort.Tensor("float32", noise(sizeOf(shape)), shape) };
  return {
    run: async () => void (await network.run(feeds)),
    check: async () => Object.values(await network.run(feeds)).map(({ data }) => squaredNorm(data)),
    dispose: () => void network.release(),
  };
}

/** onnxruntime-node, as far as bench/package.json's packages are installed. */
export async function openOnnxRuntime(threads: number): Promise<Library> {
  const ort = await importPeer<Ort>("onnxruntime-node");
  return {
    version: installedVersion("onnxruntime-node"),
    open: async (task) => {
      if (task.kind !== "inference") throw new Error("runs networks from files only");
      return inference(ort, threads, task);
    },
  };
}
