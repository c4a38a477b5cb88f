/**
 * What every network offers, whatever its family: logits, a feature map per stage, a classifier that can be replaced,
 * and what images it was made for. The tools (instruments, detectors, file formats, training) know networks by this
 * alone.
 */
import { globalAvgPool2d, reshape } from "../autograd/index.ts";
import { Conv2d, init, Linear, Module } from "../nn/index.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** One stage of a network for the gradient instruments: its name and the module paths that make it up. */
export interface StagePaths {
  readonly name: string;
  readonly paths: readonly string[];
}

/** One of the feature maps that `forwardFeatures` gives: the last one of its resolution, before it is halved. */
export interface FeatureInfo {
  /** Path of the module whose output the map is. */
  readonly path: string;
  readonly channels: number;
  /** How many times smaller than the image its sides are. */
  readonly reduction: number;
}

/** How a photograph becomes an input, for images of values in [0, 1]. */
export interface Preprocessing {
  /** Subtracted from each channel. */
  readonly mean: readonly number[];
  /** Each channel is divided by it after that. */
  readonly std: readonly number[];
  /** Length of the shorter side, in pixels, before the crop. */
  readonly resize: number;
  /** Side of the square taken from the centre, in pixels. */
  readonly crop: number;
}

/** [channels, height, width] of an image. */
export type ImageShape = readonly [channels: number, height: number, width: number];

export interface NetworkDescription {
  readonly stages: readonly StagePaths[];
  readonly featureInfo: readonly FeatureInfo[];
  readonly defaultInput: ImageShape;
  readonly preprocessing: Preprocessing;
}

/** torchvision's: ImageNet's mean and standard deviation, shorter side 8/7 of the crop (256 for 224). */
export function imagenetPreprocessing([channels, crop]: ImageShape): Preprocessing {
  const resize = Math.round((crop * 8) / 7);
  // Statistics are known for colours only; other images enter as they are.
  if (channels !== 3) return { mean: Array(channels).fill(0), std: Array(channels).fill(1), resize, crop };
  return { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], resize, crop };
}

/** Darknet's, with which the CSPNet paper's networks were trained: values stay in [0, 1]; the crop is the shorter side. */
export function darknetPreprocessing([channels, crop]: ImageShape): Preprocessing {
  return { mean: Array(channels).fill(0), std: Array(channels).fill(1), resize: crop, crop };
}

/** Mean over the pixels: `[N, C, H, W]` to `[N, C]`, what a linear classifier reads. */
export function pooledFeatures(map: Tensor): Tensor {
  return reshape(globalAvgPool2d(map), [map.shape[0], map.shape[1]]);
}

/** As torchvision: He's normal values for every convolution below `network`, zero for the classifier's bias. */
export function initialise(network: Network): void {
  for (const module of network.namedModules().values())
    if (module instanceof Conv2d && module !== network.classifier) init.kaimingNormal(module.weight);
  if (network.classifier.bias) init.constant(network.classifier.bias, 0);
}

/**
 * A network for classification. A family's class builds its modules by the names of torchvision's or timm's
 * checkpoints, where there are such, and says with `forwardBody` and `forwardHead` how they follow one another.
 */
export abstract class Network extends Module {
  /** What the instruments call a stage. */
  readonly stages: readonly StagePaths[];
  /** The maps that `forwardFeatures` gives, from the largest to the smallest. */
  readonly featureInfo: readonly FeatureInfo[];
  /** The image that the network was designed for; others fit as long as no map shrinks to nothing. */
  readonly defaultInput: ImageShape;
  readonly preprocessing: Preprocessing;
  /** The last layer with weights, which `resetClassifier` replaces. */
  abstract readonly classifier: Linear | Conv2d;

  constructor({ stages, featureInfo, defaultInput, preprocessing }: NetworkDescription) {
    super();
    this.stages = stages;
    this.featureInfo = featureInfo;
    this.defaultInput = defaultInput;
    this.preprocessing = preprocessing;
  }

  /** Images `[N, C, H, W]` to the last feature map, which is also the last of `forwardFeatures`. */
  abstract forwardBody(x: Tensor): Tensor;

  /** The last feature map to logits `[N, classes]`. */
  abstract forwardHead(map: Tensor): Tensor;

  /** Images `[N, C, H, W]` to logits `[N, classes]`. */
  override forward(x: Tensor): Tensor {
    return this.forwardHead(this.forwardBody(x));
  }

  /** Images `[N, C, H, W]` to one map `[N, channels, H / reduction, W / reduction]` for each entry of `featureInfo`. */
  forwardFeatures(x: Tensor): Tensor[] {
    const paths = this.featureInfo.map(({ path }) => path);
    return this.forwardTo(paths, x);
  }

  /**
   * The outputs of the modules at these paths, while the body computes images `[N, C, H, W]`. Throws for paths that are
   * none, or whose module the body does not call.
   */
  forwardTo(paths: readonly string[], x: Tensor): Tensor[] {
    const modules = this.namedModules();
    const outputs = new Map<string, Tensor>();
    const removers = paths.map((path) => {
      const module = modules.get(path);
      if (!module)
        throw new Error(`${this.constructor.name}: has no module ${path}; its namedModules() lists all`);
      return module.registerForwardHook((_, __, output) => {
        outputs.set(path, output);
        return undefined;
      });
    });
    try {
      this.forwardBody(x);
    } finally {
      for (const remove of removers) remove();
    }
    return paths.map((path) => {
      const output = outputs.get(path);
      if (!output)
        throw new Error(
          `${this.constructor.name}: its body does not call ${path}, which has no output therefore`,
        );
      return output;
    });
  }

  /** How many classes the logits stand for. */
  get classes(): number {
    const { classifier } = this;
    return classifier instanceof Conv2d ? classifier.outChannels : classifier.outFeatures;
  }

  /**
   * Puts a fresh classifier for so many classes in the place of the old one. Optimizers made before hold the old
   * parameters: make them anew. Throws unless `classes` is a positive integer.
   */
  resetClassifier(classes: number): void {
    if (!Number.isInteger(classes) || classes < 1)
      throw new Error(`${this.constructor.name}: classes ${classes} must be a positive integer`);
    const old = this.classifier;
    const bias = old.bias !== null;
    const fresh =
      old instanceof Conv2d
        ? new Conv2d(old.inChannels, classes, [...old.kernelSize], { ...old.options, bias })
        : new Linear(old.inFeatures, classes, { bias });
    if (fresh.bias) init.constant(fresh.bias, 0);
    if (old.weight.dtype === "f64") fresh.to("f64");
    fresh.train(old.training);
    for (const parent of this.namedModules().values())
      for (const [name, child] of parent.namedChildren())
        if (child === old) parent.replaceModule(name, fresh);
  }
}
