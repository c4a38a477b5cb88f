/** Stem, head and initial values that DenseNet and CSPDenseNet have in common. */
import { BatchNorm2d, Conv2d, Linear, MaxPool2d, type Module, Sequential } from "../nn/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { activationLayer } from "./convNormActivation.ts";
import type { DenseLayerOptions } from "./denseBlock.ts";
import {
  type FeatureInfo,
  imagenetPreprocessing,
  initialise,
  Network,
  type NetworkDescription,
  pooledFeatures,
  type StagePaths,
} from "./network.ts";

/**
 * How the image enters: "imagenet" is 7x7/2 convolution, BN, activation, 3x3/2 max pool (224 to 56); "small" a single
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
    activation: "relu" as const,
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
function stemModules(options: ResolvedDenseNetOptions): Record<string, Module> {
  const { stem, inChannels, stemChannels, activation } = options;
  if (stem === "small")
    return { conv0: new Conv2d(inChannels, stemChannels, 3, { stride: 2, padding: 1, bias: false }) };
  return {
    conv0: new Conv2d(inChannels, stemChannels, 7, { stride: 2, padding: 3, bias: false }),
    norm0: new BatchNorm2d(stemChannels),
    relu0: activationLayer(activation),
    pool0: new MaxPool2d(3, { stride: 2, padding: 1 }),
  };
}

/** A stem, stages and a final norm in `features`; activation, global average pool and a linear classifier after it. */
export class DenseNet extends Network {
  readonly features: Sequential;
  readonly classifier: Linear;
  /** No submodule: torchvision's DenseNet has none there, and the names are its. */
  private readonly activate: (map: Tensor) => Tensor;

  constructor(
    features: Readonly<Record<string, Module>>,
    channels: number,
    { classes, activation }: Pick<ResolvedDenseNetOptions, "classes" | "activation">,
    description: NetworkDescription,
  ) {
    super(description);
    const layer = activationLayer(activation);
    this.activate = (map) => layer.forward(map);
    this.features = new Sequential(features);
    this.classifier = new Linear(channels, classes);
    initialise(this);
  }

  override forwardBody(x: Tensor): Tensor {
    return this.features.forward(x);
  }

  override forwardHead(map: Tensor): Tensor {
    return this.classifier.forward(pooledFeatures(this.activate(map)));
  }
}

/** Where a stage stands. */
export interface StagePosition {
  /** From 1. */
  readonly number: number;
  readonly layers: number;
  readonly inChannels: number;
  /** The last stage does not halve the resolution. */
  readonly isLast: boolean;
}

/** One stage, built. */
export interface BuiltStage {
  /** What follows one another in `features`, by name. */
  readonly modules: Readonly<Record<string, Module>>;
  readonly outChannels: number;
  /** Its last map before the resolution halves: the module's path within `features`, and the channels. */
  readonly map: { readonly path: string; readonly channels: number };
}

/** A DenseNet of any stages: stem, stages one after the other, the final norm under that name. */
export function assembleDenseNet(
  options: ResolvedDenseNetOptions,
  build: (position: StagePosition) => BuiltStage,
  finalNorm = "norm5",
): DenseNet {
  const { blocks, stem, inChannels } = options;
  const features: Record<string, Module> = stemModules(options);
  const stages: StagePaths[] = [];
  const featureInfo: FeatureInfo[] = [];
  let channels = options.stemChannels;
  blocks.forEach((layers, i) => {
    const number = i + 1;
    const isLast = number === blocks.length;
    const { modules, outChannels, map } = build({ number, layers, inChannels: channels, isLast });
    channels = outChannels;
    Object.assign(features, modules);
    stages.push({
      name: `stage ${number}`,
      paths: Object.keys(modules).map((name) => `features.${name}`),
    });
    featureInfo.push({
      path: `features.${isLast ? finalNorm : map.path}`,
      channels: isLast ? channels : map.channels,
      reduction: (stem === "small" ? 2 : 4) * 2 ** i,
    });
  });
  features[finalNorm] = new BatchNorm2d(channels);
  const side = stem === "small" ? 28 : 224;
  const defaultInput = [inChannels, side, side] as const;
  const preprocessing = imagenetPreprocessing(defaultInput);
  return new DenseNet(features, channels, options, { stages, featureInfo, defaultInput, preprocessing });
}
