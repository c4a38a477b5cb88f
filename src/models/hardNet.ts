/**
 * HarDNet (Chao et al. 2019, arXiv 1909.00948), a comparison of the CSPNet paper: a dense network in which a layer reads
 * only the layers 1, 2, 4, … before it, and layers that many read are wider. Structure and figures of the four published
 * networks are those of github.com/PingoLH/Pytorch-HarDNet.
 */
import { concat } from "../autograd/index.ts";
import { MaxPool2d, Module, Sequential } from "../nn/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { ConvNormActivation } from "./convNormActivation.ts";
import { FeatureNetwork } from "./featureNetwork.ts";
import { type CommonOptions, defineModel } from "./modelEntry.ts";
import { type FeatureInfo, type ImageShape, imagenetPreprocessing, type StagePaths } from "./network.ts";

/** Layers `layer` − 2^n where 2^n divides `layer`, the nearest first; layer 0 is the block's input. */
function harmonicLinks(layer: number): number[] {
  const links: number[] = [];
  for (let distance = 1; layer % distance === 0 && distance <= layer; distance *= 2)
    links.push(layer - distance);
  return links;
}

export interface HarmonicBlockOptions {
  readonly layers: number;
  /** Channels of a layer with an odd number, the paper's k. */
  readonly growthRate: number;
  /** What a layer's channels are multiplied by for every time that 2 divides its number, the paper's m. */
  readonly multiplier: number;
  /** Layers are a 1x1 and a depthwise convolution instead of one of 3x3. */
  readonly depthwise: boolean;
}

/** Channels of layer number `layer` from 1 on: k · m^n for layer = 2^n · odd, rounded to an even number. */
function harmonicChannels(layer: number, { growthRate, multiplier }: HarmonicBlockOptions): number {
  let channels = growthRate;
  for (let distance = 2; layer % distance === 0; distance *= 2) channels *= multiplier;
  return Math.floor(Math.floor(channels + 1) / 2) * 2;
}

/** Layers that a block of `layers` gives out: those with odd numbers and the last. */
const isOutput = (layer: number, layers: number): boolean =>
  layer % 2 === 1 || (layer > 0 && layer === layers);

/** A depthwise convolution without activation. */
const depthwiseConvolution = (channels: number, stride = 1) =>
  new ConvNormActivation(channels, channels, {
    kernelSize: 3,
    stride,
    groups: channels,
    activation: "linear",
  });

/**
 * The harmonic dense block, figure 1 of the paper: `[N, inChannels, H, W]` to the concatenation of its layers with odd
 * numbers and the last one.
 */
export class HarmonicBlock extends Module {
  readonly outChannels: number;
  readonly layers: readonly Module[];

  constructor(inChannels: number, options: HarmonicBlockOptions) {
    super();
    const widths = [inChannels];
    const layers: Module[] = [];
    for (let layer = 1; layer <= options.layers; layer++) {
      const read = harmonicLinks(layer).reduce((sum, link) => sum + widths[link], 0);
      const channels = harmonicChannels(layer, options);
      const convolution = new ConvNormActivation(read, channels, {
        kernelSize: options.depthwise ? 1 : 3,
        activation: "relu6",
      });
      layers.push(
        options.depthwise
          ? new Sequential({ layer1: convolution, layer2: depthwiseConvolution(channels) })
          : convolution,
      );
      widths.push(channels);
    }
    this.layers = layers;
    this.outChannels = widths.reduce((sum, width, i) => sum + (isOutput(i, options.layers) ? width : 0), 0);
  }

  override forward(x: Tensor): Tensor {
    const maps = [x];
    this.layers.forEach((layer, i) => {
      const read = harmonicLinks(i + 1).map((link) => maps[link]);
      maps.push(layer.forward(read.length > 1 ? concat(read, 1) : read[0]));
    });
    return concat(
      maps.filter((_, i) => isOutput(i, this.layers.length)),
      1,
    );
  }
}

export interface HarDNetStage {
  readonly layers: number;
  readonly growthRate: number;
  /** Channels of the 1x1 convolution behind the block. */
  readonly outChannels: number;
  /** Whether the resolution halves after the stage. */
  readonly down: boolean;
}

export interface HarDNetOptions extends CommonOptions {
  /** Channels of the two convolutions of the stem. */
  readonly stemChannels: readonly [number, number];
  readonly stages: readonly HarDNetStage[];
  readonly multiplier: number;
  /** Depthwise convolutions for the 3x3 ones, and for the max pools. */
  readonly depthwise: boolean;
  /** Probability of dropping a pooled feature in training. */
  readonly dropout: number;
}

/** Builds the network: the image is halved by the stem's first convolution and by what follows its second. */
export function hardNet(options: HarDNetOptions): FeatureNetwork {
  const { stemChannels, stages, multiplier, depthwise, inChannels } = options;
  if (stages.length === 0) throw new Error("hardNet: stages is empty; give the layers of each");
  stages.forEach(({ layers }, i) => {
    if (!Number.isInteger(layers) || layers < 1)
      throw new Error(`hardNet: layers ${layers} of stages[${i}] must be a positive integer`);
  });
  const [first, second] = stemChannels;
  const down = (channels: number, kernelSize: number): Module =>
    depthwise
      ? depthwiseConvolution(channels, 2)
      : new MaxPool2d(kernelSize, { stride: 2, padding: kernelSize === 3 ? 1 : 0 });
  const stem = { kernelSize: 3, activation: "relu6" } as const;
  const features: Record<string, Module> = {
    stem1: new ConvNormActivation(inChannels, first, { ...stem, stride: 2 }),
    stem2: new ConvNormActivation(first, second, { ...stem, kernelSize: depthwise ? 1 : 3 }),
    down0: down(second, 3),
  };
  const stagePaths: StagePaths[] = [];
  const featureInfo: FeatureInfo[] = [];
  let channels = second;
  let reduction = 4;
  stages.forEach((stage, i) => {
    const number = i + 1;
    const { layers, growthRate, outChannels } = stage;
    const block = new HarmonicBlock(channels, { layers, growthRate, multiplier, depthwise });
    features[`block${number}`] = block;
    features[`transition${number}`] = new ConvNormActivation(block.outChannels, outChannels, {
      activation: "relu6",
    });
    const path = `features.transition${number}`;
    stagePaths.push({ name: `stage ${number}`, paths: [`features.block${number}`, path] });
    channels = outChannels;
    if (stage.down || number === stages.length) featureInfo.push({ path, channels, reduction });
    if (stage.down) {
      features[`down${number}`] = down(channels, 2);
      reduction *= 2;
    }
  });
  const defaultInput: ImageShape = [inChannels, 224, 224];
  return new FeatureNetwork(features, channels, options, {
    stages: stagePaths,
    featureInfo,
    defaultInput,
    preprocessing: imagenetPreprocessing(defaultInput),
  });
}

/** [layers, growth rate, channels, whether the resolution halves after it] of every stage. */
type StageRow = readonly [number, number, number, boolean];

function hardNetDefaults(
  stemChannels: readonly [number, number],
  rows: readonly StageRow[],
  { multiplier = 1.7, depthwise = false, dropout = 0.1 } = {},
): HarDNetOptions {
  const stages = rows.map(([layers, growthRate, outChannels, down]) => ({
    layers,
    growthRate,
    outChannels,
    down,
  }));
  return { stemChannels, stages, multiplier, depthwise, dropout, classes: 1000, inChannels: 3 };
}

const rows68: readonly StageRow[] = [
  [8, 14, 128, true],
  [16, 16, 256, false],
  [16, 20, 320, true],
  [16, 40, 640, true],
  [4, 160, 1024, false],
];

const rows85: readonly StageRow[] = [
  [8, 24, 192, true],
  [16, 24, 256, false],
  [16, 28, 320, true],
  [16, 36, 480, false],
  [16, 48, 720, true],
  [4, 256, 1280, false],
];

const rows39: readonly StageRow[] = [
  [4, 16, 96, true],
  [16, 20, 320, true],
  [8, 64, 640, true],
  [4, 160, 1024, false],
];

/**
 * Neither the paper's text nor its code gives the structure of HarDNet-138s. This one is derived: 138 layers with
 * weights, 35.5 M parameters and 13.4 BFLOPs, all as printed.
 */
const rows138s: readonly StageRow[] = [
  [8, 16, 192, true],
  [16, 16, 256, false],
  [16, 20, 320, true],
  [16, 28, 480, false],
  [32, 32, 640, true],
  [32, 32, 720, false],
  [8, 44, 1280, false],
];

export const hardNets = [
  defineModel({
    name: "hardnet-39-ds",
    summary: "HarDNet-39DS, depthwise separable (Chao et al. 2019)",
    defaults: hardNetDefaults([24, 48], rows39, { multiplier: 1.6, depthwise: true, dropout: 0.05 }),
    build: hardNet,
  }),
  defineModel({
    name: "hardnet-68-ds",
    summary: "HarDNet-68DS, depthwise separable (Chao et al. 2019)",
    defaults: hardNetDefaults([32, 64], rows68, { depthwise: true, dropout: 0.05 }),
    build: hardNet,
  }),
  defineModel({
    name: "hardnet-68",
    summary: "HarDNet-68 (Chao et al. 2019)",
    defaults: hardNetDefaults([32, 64], rows68),
    build: hardNet,
  }),
  defineModel({
    name: "hardnet-85",
    summary: "HarDNet-85 (Chao et al. 2019)",
    defaults: hardNetDefaults([48, 96], rows85, { dropout: 0.2 }),
    build: hardNet,
  }),
  defineModel({
    name: "hardnet-138s",
    summary: "HarDNet-138s, derived from its published figures (Chao et al. 2019)",
    paperRow: "Table 3: HarDNet-138s",
    defaults: hardNetDefaults([32, 64], rows138s, { dropout: 0.2 }),
    build: hardNet,
  }),
] as const;
