/**
 * CSPResNet and CSPResNeXt (CSPNet paper, section 3.1 and figure 5): Darknet's residual networks with stages in their
 * cross-stage-partial form. As the authors' configurations have it (github.com/WongKinYiu/CrossStagePartialNetworks,
 * csresnet50.cfg and csresnext50.cfg): no bottleneck in CSPResNeXt's blocks, and each stage's transitions before the
 * next one's convolution of stride 2.
 */
import { MaxPool2d, type Module, Sequential } from "../nn/index.ts";
import { type ActivationName, ConvNormActivation } from "./convNormActivation.ts";
import type { Fusion } from "./csp.ts";
import { FeatureNetwork } from "./featureNetwork.ts";
import { type CommonOptions, defineModel } from "./modelEntry.ts";
import { darknetPreprocessing, type FeatureInfo, type ImageShape, type StagePaths } from "./network.ts";
import { BasicBlock, Bottleneck } from "./residualBlocks.ts";
import { partialStage } from "./residualStage.ts";

export interface CspResNetStage {
  /** Channels of the 3x3/2 convolution that starts the stage; 0 for none, in the first stage. */
  readonly down: number;
  /** Channels around the blocks, and into them. */
  readonly parts: readonly [bypass: number, block: number];
  /** Activation of the convolutions that make the parts. */
  readonly partActivation: ActivationName;
  readonly blocks: number;
  /** Channels of the 3x3 convolutions of a block. */
  readonly width: number;
  /** Channels that a block gives out. */
  readonly outChannels: number;
  /** Channels of the whole stage, after U. */
  readonly fusedChannels: number;
}

export interface CspResNetOptions extends CommonOptions {
  readonly block: "basic" | "bottleneck";
  readonly stages: readonly CspResNetStage[];
  /** Groups of every 3x3 convolution, ResNeXt's cardinality. */
  readonly groups: number;
  /** Channels of the 7x7/2 convolution, after which a 2x2 max pool follows. */
  readonly stemChannels: number;
  readonly fusion: Fusion;
  readonly activation: ActivationName;
}

/** Builds the network. Throws when a size is out of range, and for an unknown fusion or activation. */
export function cspResNet(options: CspResNetOptions): FeatureNetwork {
  const { block, stages, groups, stemChannels, fusion, activation, inChannels } = options;
  const Block = block === "basic" ? BasicBlock : Bottleneck;
  const features: Record<string, Module> = {
    stem: new ConvNormActivation(inChannels, stemChannels, { kernelSize: 7, stride: 2, activation }),
    pool: new MaxPool2d(2),
  };
  const stagePaths: StagePaths[] = [];
  const featureInfo: FeatureInfo[] = [];
  let channels = stemChannels;
  let reduction = 4;
  stages.forEach(({ down, parts, partActivation, blocks, width, outChannels, fusedChannels }, i) => {
    const name = `stage${i + 1}`;
    const modules: Record<string, Module> = {};
    if (down > 0) {
      modules.down = new ConvNormActivation(channels, down, { kernelSize: 3, stride: 2, groups, activation });
      channels = down;
      reduction *= 2;
    }
    const stage = partialStage({
      inChannels: channels,
      parts,
      partActivation,
      blocks,
      block: (from) =>
        new Block({ inChannels: from, width, outChannels, groups, activation, shortcut: "partial" }),
      fusedChannels,
      activation,
      fusion,
    });
    features[name] = new Sequential({ ...modules, csp: stage });
    channels = stage.outChannels;
    stagePaths.push({ name: `stage ${i + 1}`, paths: [`features.${name}`] });
    featureInfo.push({ path: `features.${name}`, channels, reduction });
  });
  const defaultInput: ImageShape = [inChannels, 256, 256];
  const preprocessing = darknetPreprocessing(defaultInput);
  return new FeatureNetwork(features, channels, options, {
    stages: stagePaths,
    featureInfo,
    defaultInput,
    preprocessing,
  });
}

const common = {
  stemChannels: 64,
  fusion: "both",
  activation: "leaky",
  classes: 1000,
  inChannels: 3,
} as const;

const [leaky, linear] = ["leaky", "linear"] as const;

/** [down, bypass, block, activation of both, blocks, width, channels of a block, channels of the stage] */
type StageRow = readonly [number, number, number, ActivationName, number, number, number, number];

const stageTable = (rows: readonly StageRow[]): CspResNetStage[] =>
  rows.map(([down, bypass, block, partActivation, blocks, width, outChannels, fusedChannels]) => ({
    down,
    parts: [bypass, block],
    partActivation,
    blocks,
    width,
    outChannels,
    fusedChannels,
  }));

/** No source gives it: this structure comes nearest to both of the paper's figures, 1.905 BFLOPs and 2.73 M. */
const cspResNet10: CspResNetOptions = {
  ...common,
  block: "basic",
  groups: 1,
  stages: stageTable([
    [0, 64, 64, leaky, 1, 64, 64, 64],
    [128, 64, 64, leaky, 1, 64, 64, 64],
    [128, 128, 128, leaky, 1, 128, 128, 128],
    [256, 256, 256, leaky, 1, 256, 256, 256],
  ]),
};

const cspResNet50: CspResNetOptions = {
  ...common,
  block: "bottleneck",
  groups: 1,
  stages: stageTable([
    [0, 128, 64, leaky, 3, 64, 128, 128],
    [128, 256, 256, linear, 3, 128, 256, 256],
    [256, 512, 512, linear, 5, 256, 512, 512],
    [512, 1024, 1024, leaky, 2, 512, 1024, 1024],
  ]),
};

const cspResNeXt50: CspResNetOptions = {
  ...common,
  block: "bottleneck",
  groups: 32,
  stages: stageTable([
    [0, 128, 64, leaky, 3, 128, 128, 256],
    [256, 256, 256, linear, 3, 256, 256, 512],
    [512, 512, 512, linear, 5, 512, 512, 1024],
    [1024, 1024, 1024, leaky, 2, 1024, 1024, 2048],
  ]),
};

export const cspResNets = [
  defineModel({
    name: "csp-resnet-10",
    summary: "CSPResNet-10, derived from the paper's figures",
    paperRow: "Table 3: CSPResNet-10",
    defaults: cspResNet10,
    build: cspResNet,
  }),
  defineModel({
    name: "csp-resnet-50",
    summary: "CSPResNet-50, the authors' csresnet50.cfg",
    defaults: cspResNet50,
    build: cspResNet,
  }),
  defineModel({
    name: "csp-resnext-50",
    summary: "CSPResNeXt-50, the authors' csresnext50.cfg",
    paperRow: "Table 3: CSPResNeXt-50",
    defaults: cspResNeXt50,
    build: cspResNet,
  }),
] as const;
