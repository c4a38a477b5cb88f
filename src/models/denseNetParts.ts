/** Stem, head and initial values that DenseNet and CSPDenseNet have in common. */
import { globalAvgPool2d, relu, reshape } from "../autograd/index.ts";
import { BatchNorm2d, Conv2d, init, Linear, MaxPool2d, Module, ReLU, Sequential } from "../nn/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { DenseLayerOptions } from "./denseBlock.ts";

/**
 * How the image enters: "imagenet" is 7x7/2 convolution, BN, ReLU, 3x3/2 max pool (224 to 56); "small" a single
 * 3x3/2 convolution (28 to 14).
 */
export type Stem = "imagenet" | "small";

export interface DenseNetOptions extends DenseLayerOptions {
  /** Dense layers of each stage. */
  readonly blocks: readonly number[];
  /** Channels of the stem; default 2 · growthRate. */
  readonly stemChannels?: number;
  /** Default "imagenet". */
  readonly stem?: Stem;
  /** Share of the channels that a transition keeps; default 0.5. */
  readonly compression?: number;
  /** Channels of the images; default 3. */
  readonly inChannels?: number;
  /** Default 1000. */
  readonly classes?: number;
}

/** The options with every default filled in. */
export type ResolvedDenseNetOptions = Required<DenseNetOptions>;

/** Fills in defaults. Throws when a size is no positive integer. */
export function resolveDenseNetOptions(name: string, options: DenseNetOptions): ResolvedDenseNetOptions {
  const resolved = {
    bottleneckWidth: 4,
    dropout: 0,
    stemChannels: 2 * options.growthRate,
    stem: "imagenet" as const,
    compression: 0.5,
    inChannels: 3,
    classes: 1000,
    ...options,
  };
  const { blocks, growthRate, bottleneckWidth, stemChannels, inChannels, classes, compression } = resolved;
  const sizes = { growthRate, bottleneckWidth, stemChannels, inChannels, classes };
  for (const [what, value] of [
    ...Object.entries(sizes),
    ...blocks.map((n, i) => [`blocks[${i}]`, n] as const),
  ])
    if (!Number.isInteger(value) || value < 1)
      throw new Error(`${name}: ${what} ${value} must be a positive integer`);
  if (blocks.length === 0)
    throw new Error(`${name}: blocks is empty; give the number of layers of each stage`);
  if (!(compression > 0 && compression <= 1))
    throw new Error(`${name}: compression ${compression} must lie in (0, 1]`);
  return resolved;
}

/** The stem's modules by torchvision's names. */
export function stemModules({
  stem,
  inChannels,
  stemChannels,
}: ResolvedDenseNetOptions): Record<string, Module> {
  if (stem === "small")
    return { conv0: new Conv2d(inChannels, stemChannels, 3, { stride: 2, padding: 1, bias: false }) };
  return {
    conv0: new Conv2d(inChannels, stemChannels, 7, { stride: 2, padding: 3, bias: false }),
    norm0: new BatchNorm2d(stemChannels),
    relu0: new ReLU(),
    pool0: new MaxPool2d(3, { stride: 2, padding: 1 }),
  };
}

/** One stage of a network for the gradient instruments: its name and the module paths that make it up. */
export interface StagePaths {
  readonly name: string;
  readonly paths: readonly string[];
}

/** A stem, stages and a final norm in `features`; ReLU, global average pool and a linear classifier after it. */
export class DenseNet extends Module {
  readonly features: Sequential;
  readonly classifier: Linear;
  /** What the instruments call a stage. */
  readonly stages: readonly StagePaths[];

  constructor(
    features: Readonly<Record<string, Module>>,
    channels: number,
    classes: number,
    stages: readonly StagePaths[],
  ) {
    super();
    this.features = new Sequential(features);
    this.classifier = new Linear(channels, classes);
    this.stages = stages;
    this.#initialise();
  }

  /** `[N, C, H, W]` images to `[N, classes]` logits. */
  override forward(x: Tensor): Tensor {
    const pooled = globalAvgPool2d(relu(this.features.forward(x)));
    return this.classifier.forward(reshape(pooled, [pooled.shape[0], pooled.shape[1]]));
  }

  /** As torchvision: He's normal values for convolutions, zero for the classifier's bias. */
  #initialise(): void {
    for (const module of this.namedModules().values())
      if (module instanceof Conv2d) init.kaimingNormal(module.weight);
    if (this.classifier.bias) init.constant(this.classifier.bias, 0);
  }
}
