/**
 * Darknet-53 (Redmon & Farhadi 2018, YOLOv3) and CSPDarknet-53 of the CSPNet authors (csdarknet53.cfg), later the
 * backbone of YOLOv4.
 */
import { add } from "../autograd/index.ts";
import { Module, Sequential } from "../nn/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type ActivationName, ConvNormActivation } from "./convNormActivation.ts";
import type { Fusion, StageBlock } from "./csp.ts";
import { FeatureNetwork } from "./featureNetwork.ts";
import { type CommonOptions, defineModel } from "./modelEntry.ts";
import { darknetPreprocessing, type ImageShape } from "./network.ts";
import { BlockRow, partialStage } from "./residualStage.ts";

/** x + 3x3(1x1(x)) with activations before the sum: `[N, channels, H, W]` to the same shape. */
class DarknetBlock extends Module {
  readonly outChannels: number;
  readonly conv1: ConvNormActivation;
  readonly conv2: ConvNormActivation;

  /** `width` channels come out of the 1x1 convolution. */
  constructor(channels: number, width: number, activation: ActivationName) {
    super();
    this.outChannels = channels;
    this.conv1 = new ConvNormActivation(channels, width, { activation });
    this.conv2 = new ConvNormActivation(width, channels, { kernelSize: 3, activation });
  }

  override forward(x: Tensor): Tensor {
    return add(x, this.conv2.forward(this.conv1.forward(x)));
  }
}

export interface DarknetStage {
  /** Channels of the 3x3/2 convolution that starts the stage, and of the stage. */
  readonly channels: number;
  readonly blocks: number;
  /** Channels of the 1x1 convolution of a block. */
  readonly width: number;
  /** Channels around the blocks, and through them; null for a stage that is not partial. */
  readonly parts: readonly [bypass: number, block: number] | null;
}

export interface Darknet53Options extends CommonOptions {
  readonly stages: readonly DarknetStage[];
  readonly stemChannels: number;
  /** Read by partial stages only. */
  readonly fusion: Fusion;
  readonly activation: ActivationName;
}

/** Builds the network. Throws when a size is out of range, and for an unknown fusion or activation. */
export function darknet53(options: Darknet53Options): FeatureNetwork {
  const { stages, stemChannels, fusion, activation, inChannels } = options;
  const features: Record<string, Module> = {
    stem: new ConvNormActivation(inChannels, stemChannels, { kernelSize: 3, activation }),
  };
  const widths: number[] = [];
  stages.forEach(({ channels, blocks, width, parts }, i) => {
    const before = widths.at(-1) ?? stemChannels;
    const block = (from: number): StageBlock => new DarknetBlock(from, width, activation);
    const partActivation = activation;
    const body = parts
      ? partialStage({
          inChannels: channels,
          parts,
          partActivation,
          blocks,
          block,
          fusedChannels: channels,
          activation,
          fusion,
        })
      : new BlockRow(blocks, channels, block);
    features[`stage${i + 1}`] = new Sequential({
      down: new ConvNormActivation(before, channels, { kernelSize: 3, stride: 2, activation }),
      [parts ? "csp" : "blocks"]: body,
    });
    widths.push(body.outChannels);
  });
  const defaultInput: ImageShape = [inChannels, 256, 256];
  const preprocessing = darknetPreprocessing(defaultInput);
  const paths = widths.map((_, i) => `features.stage${i + 1}`);
  return new FeatureNetwork(features, widths.at(-1) ?? stemChannels, options, {
    stages: paths.map((path, i) => ({ name: `stage ${i + 1}`, paths: [path] })),
    featureInfo: paths.map((path, i) => ({ path, channels: widths[i], reduction: 2 ** (i + 1) })),
    defaultInput,
    preprocessing,
  });
}

const common = {
  stemChannels: 32,
  fusion: "both",
  activation: "leaky",
  classes: 1000,
  inChannels: 3,
} as const;

const blocks = [1, 2, 8, 8, 4];

const darknet: Darknet53Options = {
  ...common,
  stages: blocks.map((count, i) => ({
    channels: 64 * 2 ** i,
    blocks: count,
    width: 32 * 2 ** i,
    parts: null,
  })),
};

/** Both parts have half of the channels, and the blocks no bottleneck; but for the first stage, whose parts are whole. */
const cspDarknet: Darknet53Options = {
  ...common,
  stages: blocks.map((count, i) => {
    const part = i === 0 ? 64 : 32 * 2 ** i;
    return { channels: 64 * 2 ** i, blocks: count, width: 32 * 2 ** i, parts: [part, part] as const };
  }),
};

export const darknet53s = [
  defineModel({
    name: "darknet-53",
    summary: "Darknet-53, the backbone of YOLOv3 (Redmon & Farhadi 2018)",
    defaults: darknet,
    build: darknet53,
  }),
  defineModel({
    name: "csp-darknet-53",
    summary: "CSPDarknet-53, the authors' csdarknet53.cfg",
    defaults: cspDarknet,
    build: darknet53,
  }),
] as const;
