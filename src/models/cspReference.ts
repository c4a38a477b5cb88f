/**
 * The paper's networks for edge devices, named after Darknet Reference, whose stem of convolutions and max pools they
 * have: CSPDenseNet Reference and CSPPeleeNet Reference of Table 3, and the forms "b" of Tables 4 and 5 that lack the
 * wide pair of 1x1 convolutions at the end. Their configurations were never published: these reproduce their
 * parameters and BFLOPs to 0.6 %.
 */
import { globalAvgPool2d, reshape } from "../autograd/index.ts";
import { Conv2d, MaxPool2d, type Module, Sequential } from "../nn/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type ActivationName, ConvNormActivation } from "./convNormActivation.ts";
import { csp, type StageBlock } from "./csp.ts";
import { FeatureNetwork } from "./featureNetwork.ts";
import { GrowingBlock } from "./growingBlock.ts";
import { type CommonOptions, defineModel } from "./modelEntry.ts";
import {
  darknetPreprocessing,
  type FeatureInfo,
  initialise,
  Network,
  type NetworkDescription,
  type StagePaths,
} from "./network.ts";
import { twoWayBlock } from "./peleeParts.ts";

/** What follows the stem: layers and growth rate of a stage, and the channels that its transition U gives out. */
interface ReferenceStage {
  readonly layers: number;
  readonly growthRate: number;
  readonly outChannels: number;
}

export interface CspReferenceOptions extends CommonOptions {
  /** Channels of the stem's 3x3 convolutions, between which a max pool halves the resolution. */
  readonly stemChannels: readonly number[];
  readonly stages: readonly ReferenceStage[];
  /** Channels of the 1x1 convolutions behind the stages; none in the forms "b". */
  readonly headChannels: readonly number[];
  /** Share γ of a stage's channels that bypasses its layers. */
  readonly partialRatio: number;
  readonly activation: ActivationName;
}

/** How a network's layers are built: the one thing that the two families differ in besides their sizes. */
type BlockBuilder = (inChannels: number, stage: ReferenceStage, activation: ActivationName) => StageBlock;

/** 1x1 and 3x3 convolution, both to `growthRate` channels. */
const denseBlock: BlockBuilder = (inChannels, { layers, growthRate }, activation) =>
  new GrowingBlock({
    layers,
    inChannels,
    growthRate,
    layer: (channels) =>
      new Sequential({
        conv1: new ConvNormActivation(channels, growthRate, { activation }),
        conv2: new ConvNormActivation(growthRate, growthRate, { kernelSize: 3, activation }),
      }),
  });

/** PeleeNet's layers, whose 1x1 convolutions give `growthRate` channels, at most 128. */
const peleeBlock: BlockBuilder = (inChannels, { layers, growthRate }, activation) =>
  twoWayBlock(inChannels, { layers, growthRate, bottleneck: Math.min(growthRate, 128), activation });

interface Parts {
  readonly features: Readonly<Record<string, Module>>;
  readonly channels: number;
  readonly description: NetworkDescription;
}

/** Stem, cross-stage-partial stages with a max pool after each but the last, and the head's 1x1 convolutions. */
function buildParts(name: string, options: CspReferenceOptions, block: BlockBuilder): Parts {
  const { stemChannels, headChannels, partialRatio, activation, inChannels } = options;
  if (options.stages.length === 0) throw new Error(`${name}: stages is empty; give at least one stage`);
  const features: Record<string, Module> = {};
  let channels = inChannels;
  stemChannels.forEach((width, i) => {
    if (i > 0) features[`pool${i}`] = new MaxPool2d(2);
    features[`conv${i + 1}`] = new ConvNormActivation(channels, width, { kernelSize: 3, activation });
    channels = width;
  });
  let reduction = 2 ** Math.max(0, stemChannels.length - 1);
  const conv1x1 = (from: number, to: number) => new ConvNormActivation(from, to, { activation });
  const stages: StagePaths[] = [];
  const featureInfo: FeatureInfo[] = [];
  options.stages.forEach((stage, i) => {
    const number = i + 1;
    const isLast = number === options.stages.length;
    const path = `features.stage${number}`;
    const paths = [path];
    features[`stage${number}`] = csp(
      {
        inChannels: channels,
        block: (from) => block(from, stage, activation),
        transition: conv1x1,
        transitionChannels: { U: stage.outChannels },
      },
      { partialRatio, compression: 1 },
    );
    channels = stage.outChannels;
    if (!isLast) {
      featureInfo.push({ path, channels, reduction });
      features[`stage${number}_pool`] = new MaxPool2d(2);
      paths.push(`${path}_pool`);
      reduction *= 2;
    }
    stages.push({ name: `stage ${number}`, paths });
  });
  headChannels.forEach((width, i) => {
    features[`head${i + 1}`] = conv1x1(channels, width);
    channels = width;
  });
  featureInfo.push({ path: `features.${Object.keys(features).at(-1)}`, channels, reduction });
  const defaultInput = [inChannels, 224, 224] as const;
  const preprocessing = darknetPreprocessing(defaultInput);
  return { features, channels, description: { stages, featureInfo, defaultInput, preprocessing } };
}

/** CSPDenseNet Reference: its classifier is a 1x1 convolution of the last map, whose logits are averaged. */
class CspDenseNetReference extends Network {
  readonly features: Sequential;
  readonly classifier: Conv2d;

  constructor({ features, channels, description }: Parts, classes: number) {
    super(description);
    this.features = new Sequential(features);
    this.classifier = new Conv2d(channels, classes, 1);
    initialise(this);
  }

  override forwardBody(x: Tensor): Tensor {
    return this.features.forward(x);
  }

  override forwardHead(map: Tensor): Tensor {
    const logits = this.classifier.forward(map);
    return reshape(globalAvgPool2d(logits), [logits.shape[0], logits.shape[1]]);
  }
}

const denseDefaults: CspReferenceOptions = {
  stemChannels: [16, 32, 64, 128],
  stages: [
    { layers: 3, growthRate: 16, outChannels: 256 },
    { layers: 4, growthRate: 32, outChannels: 256 },
    { layers: 3, growthRate: 64, outChannels: 512 },
  ],
  headChannels: [2048, 512],
  partialRatio: 0.5,
  activation: "leaky",
  inChannels: 3,
  classes: 1000,
};

const peleeDefaults: CspReferenceOptions = {
  ...denseDefaults,
  stemChannels: [16, 32, 64],
  stages: [
    { layers: 2, growthRate: 16, outChannels: 128 },
    { layers: 3, growthRate: 32, outChannels: 256 },
    { layers: 3, growthRate: 64, outChannels: 256 },
    { layers: 2, growthRate: 128, outChannels: 512 },
  ],
};

/** The form "b". */
const withoutHead = (options: CspReferenceOptions): CspReferenceOptions => ({ ...options, headChannels: [] });

const averaged = (name: string, block: BlockBuilder) => (options: CspReferenceOptions) => {
  const { features, channels, description } = buildParts(name, options, block);
  return new FeatureNetwork(features, channels, { classes: options.classes }, description);
};

export const cspReferences = [
  defineModel({
    name: "csp-densenet-reference",
    summary: "CSPDenseNet for edge devices, with a stem of 3x3 convolutions and max pools",
    paperRow: "Table 3: CSPDenseNet Reference",
    defaults: denseDefaults,
    build: (options): Network =>
      new CspDenseNetReference(buildParts("csp-densenet-reference", options, denseBlock), options.classes),
  }),
  defineModel({
    name: "csp-densenetb-reference",
    summary: "CSPDenseNet Reference without the wide 1x1 convolutions at its end",
    paperRow: "Table 4: CSPDenseNetb Reference",
    defaults: withoutHead(denseDefaults),
    build: averaged("csp-densenetb-reference", denseBlock),
  }),
  defineModel({
    name: "csp-peleenet-reference",
    summary: "CSPPeleeNet for edge devices, with a stem of 3x3 convolutions and max pools",
    paperRow: "Table 3: CSPPeleeNet Reference",
    defaults: peleeDefaults,
    build: averaged("csp-peleenet-reference", peleeBlock),
  }),
  defineModel({
    name: "csp-peleenetb-reference",
    summary: "CSPPeleeNet Reference without the wide 1x1 convolutions at its end",
    defaults: withoutHead(peleeDefaults),
    build: averaged("csp-peleenetb-reference", peleeBlock),
  }),
] as const;
