/** The DenseNet of src/models/densenet.ts with the "small" stem, out of `tf.layers`, and its training step. */
import type { Workload } from "./library.ts";
import { initialWeight, noise, type StepTask, sizeOf } from "./task.ts";
import { image, kernel, type Tf, type TfTensor } from "./tfjsTensors.ts";

/** A tensor that is not computed yet: layers connect these to a network. */
interface Symbolic {
  readonly shape: readonly (number | null)[];
}

interface Layer {
  apply(input: Symbolic | readonly Symbolic[]): Symbolic;
}

type LayerMaker = (options: Readonly<Record<string, unknown>>) => Layer;

interface LayersModel {
  compile(options: Readonly<Record<string, unknown>>): void;
  trainOnBatch(images: TfTensor, labels: TfTensor): Promise<number>;
  dispose(): unknown;
}

/** The members of `tf` that build and train a network. */
export interface LayersApi {
  readonly layers: Readonly<
    Record<
      | "activation"
      | "averagePooling2d"
      | "batchNormalization"
      | "concatenate"
      | "conv2d"
      | "dense"
      | "globalAveragePooling2d"
      | "zeroPadding2d",
      LayerMaker
    >
  >;
  readonly train: { momentum(lr: number, momentum: number): object };
  readonly losses: { softmaxCrossEntropy(labels: TfTensor, logits: TfTensor): TfTensor };
  input(options: { shape: readonly number[] }): Symbolic;
  model(options: { inputs: Symbolic; outputs: Symbolic }): LayersModel;
}

function channelsOf({ shape }: Symbolic): number {
  return shape.at(-1) ?? 0;
}

function densenet(tf: Tf & LayersApi, config: StepTask): LayersModel {
  const { blocks, growthRate, bottleneckWidth, stemChannels, classes, extent } = config;
  const { layers } = tf;
  let seed = 0;

  const convolve = (x: Symbolic, filters: number, kernelSize: number, options: object = {}): Symbolic => {
    const weights = [kernel(tf, [filters, channelsOf(x), kernelSize, kernelSize], seed++)];
    const all = { filters, kernelSize, useBias: false, padding: "same", ...options, weights };
    return layers.conv2d(all).apply(x);
  };
  const normRelu = (x: Symbolic): Symbolic => {
    const normed = layers.batchNormalization({ epsilon: 1e-5, momentum: 0.9 }).apply(x);
    return layers.activation({ activation: "relu" }).apply(normed);
  };

  const inputs = tf.input({ shape: [extent, extent, 1] });
  // "same" would put the zeros of a stride of 2 on one side only.
  const padded = layers.zeroPadding2d({ padding: 1 }).apply(inputs);
  let x = convolve(padded, stemChannels, 3, { strides: 2, padding: "valid" });
  blocks.forEach((depth, index) => {
    for (let layer = 0; layer < depth; layer++) {
      const narrow = convolve(normRelu(x), bottleneckWidth * growthRate, 1);
      x = layers.concatenate({}).apply([x, convolve(normRelu(narrow), growthRate, 3)]);
    }
    if (index + 1 === blocks.length) return;
    const mixed = convolve(normRelu(x), Math.max(1, Math.floor(channelsOf(x) / 2)), 1);
    x = layers.averagePooling2d({ poolSize: 2 }).apply(mixed);
  });
  const pooled = layers.globalAveragePooling2d({}).apply(normRelu(x));
  const shape = [classes, channelsOf(pooled)];
  const weight = tf.tidy(() => tf.transpose(tf.tensor2d(initialWeight(shape, seed), shape), [1, 0]));
  const bias = tf.zeros([classes]);
  const outputs = layers.dense({ units: classes, weights: [weight, bias] }).apply(pooled);
  return tf.model({ inputs, outputs });
}

/**
 * `trainOnBatch` of the network: loss, gradients and the optimizer's step. Only with the small stem and without
 * partial stages; throws otherwise.
 */
export function tfjsTrainingStep(tf: Tf & LayersApi, task: StepTask): Workload {
  const { batch, extent, classes, lr, momentum, stem, inChannels, fusion } = task;
  if (stem !== "small" || inChannels !== 1 || fusion)
    throw new Error("only small DenseNets are written for it");
  const model = densenet(tf, task);
  model.compile({
    optimizer: tf.train.momentum(lr, momentum),
    loss: (labels: TfTensor, logits: TfTensor) => tf.losses.softmaxCrossEntropy(labels, logits),
  });
  const shape = [batch, 1, extent, extent];
  const images = image(tf, noise(sizeOf(shape)), shape);
  const oneHot = new Float32Array(batch * classes);
  for (let i = 0; i < batch; i++) oneHot[i * classes + (i % classes)] = 1;
  const labels = tf.tensor2d(oneHot, [batch, classes]);
  return {
    run: async () => void (await model.trainOnBatch(images, labels)),
    check: async () => [await model.trainOnBatch(images, labels)],
    dispose: () => {
      for (const operand of [images, labels, model]) operand.dispose();
    },
  };
}
