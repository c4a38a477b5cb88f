/**
 * ResNet (He et al. 2016), ResNeXt (Xie et al. 2017), Res2Net and Res2NeXt (Gao et al. 2019): torchvision's and timm's
 * with their names, and Darknet's, against which the CSPNet paper measures, without a projection.
 */
import {
  BatchNorm2d,
  Conv2d,
  type ConvolutionChain,
  Linear,
  MaxPool2d,
  type Module,
  Sequential,
} from "../nn/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type ActivationName, activationLayer } from "./convNormActivation.ts";
import { defineModel } from "./modelEntry.ts";
import {
  darknetPreprocessing,
  type ImageShape,
  imagenetPreprocessing,
  initialise,
  Network,
  pooledFeatures,
} from "./network.ts";
import { Res2NetBlock } from "./res2netBlock.ts";
import { BasicBlock, Bottleneck, type ResidualBlockOptions } from "./residualBlocks.ts";

export interface ResNetOptions {
  /** "basic" is two 3x3 convolutions, "bottleneck" 1x1, 3x3 and 1x1, "res2net" splits the 3x3 into a chain. */
  readonly block: "basic" | "bottleneck" | "res2net";
  /** Blocks of each stage; the widths double from `stemChannels` on. */
  readonly blocks: readonly [number, number, number, number];
  /** Groups of the 3x3 convolutions, ResNeXt's cardinality. */
  readonly groups: number;
  /** Channels of each group in the first stage, as torchvision's width_per_group; of each of Res2Net's splits. */
  readonly widthPerGroup: number;
  /** Splits of a Res2Net block. Other blocks do not read it. */
  readonly scale: number;
  /** Channels of the stem, 64 in all published networks; the others follow from it. */
  readonly stemChannels: number;
  /**
   * "torchvision": ReLU, 3x3/2 pool, 1x1 convolutions as projections, 224 x 224. "darknet": leaky ReLU, 2x2/2 pool, shortcuts
   * without weights, 256 x 256.
   */
  readonly style: "torchvision" | "darknet";
  readonly classes: number;
  readonly inChannels: number;
}

const styles = {
  torchvision: { activation: "relu", shortcut: "projection", pool: { kernelSize: 3, padding: 1 }, side: 224 },
  darknet: { activation: "leaky", shortcut: "partial", pool: { kernelSize: 2, padding: 0 }, side: 256 },
} as const satisfies Record<
  string,
  {
    readonly activation: ActivationName;
    readonly shortcut: ResidualBlockOptions["shortcut"];
    readonly pool: object;
    readonly side: number;
  }
>;

/** Output channels of a block over the width of its 3x3 convolutions in an ungrouped network. */
const expansion = { basic: 1, bottleneck: 4, res2net: 4 } as const;

function makeBlock(options: ResNetOptions, block: ResidualBlockOptions): Module {
  switch (options.block) {
    case "basic":
      return new BasicBlock(block);
    case "bottleneck":
      return new Bottleneck(block);
    case "res2net":
      return new Res2NetBlock({ ...block, scale: options.scale });
  }
}

/** The `index`-th stage: its first block halves the resolution, except in the first stage. */
function makeStage(options: ResNetOptions, index: number): Sequential {
  const { block, blocks, groups, widthPerGroup, stemChannels, style } = options;
  const { activation, shortcut } = styles[style];
  const planes = stemChannels * 2 ** index;
  const outChannels = planes * expansion[block];
  const width = Math.floor((planes * widthPerGroup) / 64) * groups;
  const before = index === 0 ? stemChannels : outChannels / 2;
  const stage = Array.from({ length: blocks[index] }, (_, i) =>
    makeBlock(options, {
      inChannels: i === 0 ? before : outChannels,
      width,
      outChannels,
      stride: index > 0 && i === 0 ? 2 : 1,
      groups,
      activation,
      shortcut,
    }),
  );
  return new Sequential(Object.fromEntries(stage.entries()));
}

function describe({ blocks, block, stemChannels, style, inChannels }: ResNetOptions) {
  const { side } = styles[style];
  const defaultInput: ImageShape = [inChannels, side, side];
  return {
    stages: blocks.map((_, i) => ({ name: `stage ${i + 1}`, paths: [`layer${i + 1}`] })),
    featureInfo: blocks.map((_, i) => ({
      path: `layer${i + 1}`,
      channels: stemChannels * expansion[block] * 2 ** i,
      reduction: 4 * 2 ** i,
    })),
    defaultInput,
    preprocessing: (style === "darknet" ? darknetPreprocessing : imagenetPreprocessing)(defaultInput),
  };
}

/** 7x7/2 convolution, max pool, four stages of residual blocks, global average pool, linear classifier. */
export class ResNet extends Network {
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm2d;
  readonly activation: Module;
  readonly maxpool: MaxPool2d;
  readonly layer1: Sequential;
  readonly layer2: Sequential;
  readonly layer3: Sequential;
  readonly layer4: Sequential;
  readonly fc: Linear;

  /** Throws when a size is out of range. */
  constructor(options: ResNetOptions) {
    super(describe(options));
    const { block, blocks, stemChannels, style, classes, inChannels } = options;
    for (const [what, value] of [...Object.entries({ stemChannels }), ...Object.entries(blocks)])
      if (!Number.isInteger(value) || value < 1)
        throw new Error(
          `ResNet: ${what === "stemChannels" ? what : `blocks[${what}]`} ${value} must be a positive integer`,
        );
    const { activation, pool } = styles[style];
    this.conv1 = new Conv2d(inChannels, stemChannels, 7, { stride: 2, padding: 3, bias: false });
    this.bn1 = new BatchNorm2d(stemChannels);
    this.activation = activationLayer(activation);
    this.maxpool = new MaxPool2d(pool.kernelSize, { stride: 2, padding: pool.padding });
    this.layer1 = makeStage(options, 0);
    this.layer2 = makeStage(options, 1);
    this.layer3 = makeStage(options, 2);
    this.layer4 = makeStage(options, 3);
    this.fc = new Linear(stemChannels * 8 * expansion[block], classes);
    initialise(this);
  }

  override get classifier(): Linear {
    return this.fc;
  }

  override forwardBody(x: Tensor): Tensor {
    const stem = this.maxpool.forward(this.activation.forward(this.bn1.forward(this.conv1.forward(x))));
    return [this.layer1, this.layer2, this.layer3, this.layer4].reduce(
      (map, stage) => stage.forward(map),
      stem,
    );
  }

  override forwardHead(map: Tensor): Tensor {
    return this.fc.forward(pooledFeatures(map));
  }

  override convolutionChains(): readonly ConvolutionChain[] {
    return [{ convolution: "conv1", norm: "bn1", activation: "activation" }];
  }
}

const common = {
  block: "bottleneck",
  blocks: [3, 4, 6, 3],
  groups: 1,
  widthPerGroup: 64,
  scale: 1,
  stemChannels: 64,
  style: "torchvision",
  classes: 1000,
  inChannels: 3,
} as const satisfies ResNetOptions;

/** An entry for the catalog: the defaults of one published network. */
function resNet<const Name extends string>(
  name: Name,
  own: Partial<ResNetOptions>,
  summary: string,
  paperRow?: string,
) {
  const defaults: ResNetOptions = { ...common, ...own };
  const row = paperRow === undefined ? {} : { paperRow };
  return defineModel({ name, summary, defaults, ...row, build: (options) => new ResNet(options) });
}

const resNeXt = { groups: 32, widthPerGroup: 4 } as const;

export const resNets = [
  resNet("resnet-50", {}, "ResNet-50, torchvision's (He et al. 2016)"),
  resNet("resnet-101", { blocks: [3, 4, 23, 3] }, "ResNet-101, torchvision's (He et al. 2016)"),
  resNet(
    "resnet-152",
    { blocks: [3, 8, 36, 3] },
    "ResNet-152, torchvision's (He et al. 2016)",
    "Table 3: ResNet-152",
  ),
  resNet("resnext-50", resNeXt, "ResNeXt-50 32x4d, torchvision's (Xie et al. 2017)"),
  resNet(
    "resnet-10",
    { block: "basic", blocks: [1, 1, 1, 1], style: "darknet" },
    "ResNet-10, Darknet's, without projections",
    "Table 3: ResNet-10",
  ),
  resNet("resnet-50-darknet", { style: "darknet" }, "ResNet-50, Darknet's, without projections"),
  resNet(
    "resnet-152-darknet",
    { blocks: [3, 8, 36, 3], style: "darknet" },
    "ResNet-152, Darknet's, without projections",
  ),
  resNet(
    "resnext-50-darknet",
    { ...resNeXt, style: "darknet" },
    "ResNeXt-50 32x4d, Darknet's, without projections",
    "Table 3: ResNeXt-50",
  ),
  resNet(
    "res2net-50",
    { block: "res2net", widthPerGroup: 26, scale: 4 },
    "Res2Net-50 26w-4s, as published and in timm (Gao et al. 2019)",
    "Table 3: Res2Net-50",
  ),
  resNet(
    "res2next-50",
    { block: "res2net", groups: 8, widthPerGroup: 4, scale: 4 },
    "Res2NeXt-50 8x4w-4s, as published and in timm (Gao et al. 2019)",
    "Table 3: Res2NeXt-50",
  ),
] as const;
