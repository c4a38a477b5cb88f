/**
 * EfficientNet-B0 (Tan & Le 2019) by torchvision's names, and the network of that name in the CSPNet paper's Table 3,
 * the authors' enetb0.cfg: its widths are MobileNetV2's, it halves the resolution elsewhere and expands every block.
 */
import { add } from "../autograd/index.ts";
import {
  BatchNorm2d,
  Conv2d,
  Dropout,
  Linear,
  Module,
  Sequential,
  SiLU,
  SqueezeExcitation,
  StochasticDepth,
} from "../nn/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type CommonOptions, defineModel } from "./modelEntry.ts";
import {
  darknetPreprocessing,
  type FeatureInfo,
  type ImageShape,
  imagenetPreprocessing,
  initialise,
  Network,
  type NetworkDescription,
  pooledFeatures,
} from "./network.ts";

/** One block: 1x1 convolution to `hidden` channels, depthwise convolution, squeeze and excitation, 1x1 convolution. */
export interface MobileBlock {
  readonly hidden: number;
  readonly kernelSize: number;
  readonly stride: number;
  /** Channels that the squeeze and excitation squeezes to. */
  readonly squeeze: number;
  readonly outChannels: number;
}

export interface EfficientNetOptions extends CommonOptions {
  readonly stemChannels: number;
  /** Blocks by stage. */
  readonly stages: readonly (readonly MobileBlock[])[];
  /** Channels of the last 1x1 convolution. */
  readonly headChannels: number;
  /** Probability of dropping a pooled feature in training. */
  readonly dropout: number;
  /** Probability of dropping what a residual branch gives, in training. */
  readonly branchDropout: number;
  /**
   * "torchvision": branches are dropped by image, the first never and later ones ever more often up to `branchDropout`;
   * a block that need not widen its input has no first convolution; 224 x 224 with ImageNet's statistics. "darknet":
   * branches lose single elements, all with the same probability; every block has its first convolution.
   */
  readonly style: "torchvision" | "darknet";
}

interface ConvolutionOptions {
  readonly kernelSize?: number;
  readonly stride?: number;
  readonly groups?: number;
  readonly swish?: boolean;
}

/** Convolution, norm and swish as "0", "1" and "2": torchvision's Conv2dNormActivation. */
function convolution(
  inChannels: number,
  outChannels: number,
  { kernelSize = 1, stride = 1, groups = 1, swish = true }: ConvolutionOptions = {},
): Sequential {
  const padding = (kernelSize - 1) / 2;
  const conv = new Conv2d(inChannels, outChannels, kernelSize, { stride, padding, groups, bias: false });
  return new Sequential(conv, new BatchNorm2d(outChannels), ...(swish ? [new SiLU()] : []));
}

/** The inverted residual with squeeze and excitation: `[N, inChannels, H, W]` to `[N, outChannels, P, Q]`. */
class MobileBlockLayer extends Module {
  readonly block: Sequential;
  /** Null where the block changes the shape, and nothing goes around it. */
  readonly branchDropout: Module | null;

  constructor(
    inChannels: number,
    options: MobileBlock & { readonly expand: boolean; readonly drop: Module },
  ) {
    super();
    const { hidden, kernelSize, stride, squeeze, outChannels, expand, drop } = options;
    const excitation = new SqueezeExcitation(hidden, squeeze, { activation: () => new SiLU() });
    this.block = new Sequential(
      ...(expand ? [convolution(inChannels, hidden)] : []),
      convolution(hidden, hidden, { kernelSize, stride, groups: hidden }),
      excitation,
      convolution(hidden, outChannels, { swish: false }),
    );
    this.branchDropout = stride === 1 && inChannels === outChannels ? drop : null;
  }

  override forward(x: Tensor): Tensor {
    const y = this.block.forward(x);
    return this.branchDropout ? add(this.branchDropout.forward(y), x) : y;
  }
}

/** The last stage of every resolution, from the stem on. */
function describe({ stages, headChannels, style, inChannels }: EfficientNetOptions): NetworkDescription {
  const maps: FeatureInfo[] = [];
  let reduction = 2;
  stages.forEach((blocks, i) => {
    const stride = blocks.reduce((product, block) => product * block.stride, 1);
    if (stride > 1 || i === 0) reduction *= stride;
    else maps.pop();
    maps.push({ path: `features.${i + 1}`, channels: blocks.at(-1)?.outChannels ?? 0, reduction });
  });
  maps.pop();
  const head = { path: `features.${stages.length + 1}`, channels: headChannels, reduction };
  const defaultInput: ImageShape = [inChannels, 224, 224];
  return {
    stages: stages.map((_, i) => ({ name: `stage ${i + 1}`, paths: [`features.${i + 1}`] })),
    featureInfo: [...maps, head],
    defaultInput,
    preprocessing: (style === "darknet" ? darknetPreprocessing : imagenetPreprocessing)(defaultInput),
  };
}

/** 3x3/2 convolution, stages of inverted residuals, 1x1 convolution; global average pool, dropout, linear classifier. */
export class EfficientNet extends Network {
  readonly features: Sequential;

  /** Throws when a size is out of range. */
  constructor(options: EfficientNetOptions) {
    super(describe(options));
    const { stemChannels, stages, headChannels, dropout, branchDropout, style, classes, inChannels } =
      options;
    if (stages.length === 0 || stages.some((blocks) => blocks.length === 0))
      throw new Error("EfficientNet: stages is empty or has an empty stage; give the blocks of each");
    const count = stages.flat().length;
    let channels = stemChannels;
    let index = 0;
    const rows = stages.map((blocks) => {
      const layers = blocks.map((block) => {
        const drop =
          style === "darknet"
            ? new Dropout(branchDropout)
            : new StochasticDepth((branchDropout * index) / count);
        const expand = style === "darknet" || block.hidden !== channels;
        const layer = new MobileBlockLayer(channels, { ...block, expand, drop });
        channels = block.outChannels;
        index++;
        return layer;
      });
      return new Sequential(Object.fromEntries(layers.entries()));
    });
    this.features = new Sequential(
      convolution(inChannels, stemChannels, { kernelSize: 3, stride: 2 }),
      ...rows,
      convolution(channels, headChannels),
    );
    this.addModule("classifier", new Sequential(new Dropout(dropout), new Linear(headChannels, classes)));
    initialise(this);
  }

  /** The linear layer, which torchvision has as `classifier.1` behind the dropout. */
  override get classifier(): Linear {
    const layer = this.child("classifier.1");
    if (layer instanceof Linear) return layer;
    throw new Error(`EfficientNet: classifier.1 is a ${layer.constructor.name} and must be a Linear`);
  }

  override forwardBody(x: Tensor): Tensor {
    return this.features.forward(x);
  }

  override forwardHead(map: Tensor): Tensor {
    return this.child("classifier").forward(pooledFeatures(map));
  }

  private child(path: string): Module {
    const module = this.namedModules().get(path);
    if (!module) throw new Error(`EfficientNet: has no module ${path}`);
    return module;
  }
}

const common = {
  stemChannels: 32,
  headChannels: 1280,
  dropout: 0.2,
  branchDropout: 0.2,
  classes: 1000,
  inChannels: 3,
};

/** Table 1 of the EfficientNet paper: [expansion, kernel size, stride, channels, blocks] of each stage. */
const b0Stages = [
  [1, 3, 1, 16, 1],
  [6, 3, 2, 24, 2],
  [6, 5, 2, 40, 2],
  [6, 3, 2, 80, 3],
  [6, 5, 1, 112, 3],
  [6, 5, 2, 192, 4],
  [6, 3, 1, 320, 1],
] as const;

const efficientNetB0: EfficientNetOptions = {
  ...common,
  style: "torchvision",
  stages: b0Stages.map(([expansion, kernelSize, stride, outChannels, blocks], i) =>
    Array.from({ length: blocks }, (_, j) => {
      const inChannels = j > 0 ? outChannels : i > 0 ? b0Stages[i - 1][3] : common.stemChannels;
      return {
        hidden: expansion * inChannels,
        kernelSize,
        stride: j > 0 ? 1 : stride,
        squeeze: Math.max(1, Math.floor(inChannels / 4)),
        outChannels,
      };
    }),
  ),
};

/** [hidden, kernel size, stride, squeeze, channels] of every block of enetb0.cfg, a line a stage. */
const darknetStages = [
  [[32, 3, 1, 8, 16]],
  [
    [96, 3, 2, 16, 24],
    [144, 3, 1, 8, 24],
  ],
  [
    [144, 5, 2, 8, 40],
    [192, 5, 1, 16, 40],
  ],
  [
    [192, 3, 1, 16, 80],
    [384, 3, 1, 24, 80],
    [384, 3, 1, 24, 80],
  ],
  [
    [384, 5, 2, 24, 112],
    [576, 5, 1, 32, 112],
    [576, 5, 1, 32, 112],
  ],
  [
    [576, 5, 2, 32, 192],
    [960, 5, 1, 64, 192],
    [960, 5, 1, 64, 192],
    [960, 5, 1, 64, 192],
  ],
  [[960, 3, 1, 64, 320]],
] as const;

const darknetEfficientNetB0: EfficientNetOptions = {
  ...common,
  style: "darknet",
  stages: darknetStages.map((blocks) =>
    blocks.map(([hidden, kernelSize, stride, squeeze, outChannels]) => ({
      hidden,
      kernelSize,
      stride,
      squeeze,
      outChannels,
    })),
  ),
};

export const efficientNets = [
  defineModel({
    name: "efficientnet-b0",
    summary: "EfficientNet-B0, torchvision's (Tan & Le 2019)",
    defaults: efficientNetB0,
    build: (options) => new EfficientNet(options),
  }),
  defineModel({
    name: "efficientnet-b0-darknet",
    summary: "EfficientNet-B0 as the CSPNet paper has it, the authors' enetb0.cfg",
    paperRow: "Table 3: EfficientNet-B0*",
    defaults: darknetEfficientNetB0,
    build: (options) => new EfficientNet(options),
  }),
] as const;
