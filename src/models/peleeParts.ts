/**
 * The parts that PeleeNet (Wang et al. 2018) and its cross-stage-partial forms are made of, with the module names of
 * the authors' checkpoint (github.com/Robert-JunWang/PeleeNet).
 */
import { concat } from "../autograd/index.ts";
import { AvgPool2d, MaxPool2d, Module, SqueezeExcitation } from "../nn/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type ActivationName, activationLayer, ConvNormActivation } from "./convNormActivation.ts";
import type { StageBlock } from "./csp.ts";
import { GrowingBlock, SparseGrowingBlock } from "./growingBlock.ts";
import type { CommonOptions } from "./modelEntry.ts";

/** Options that every network of the family has. */
export interface PeleeOptions extends CommonOptions {
  /** Two-way dense layers of each stage. */
  readonly blocks: readonly number[];
  /** Channels that each layer adds, half from either way. */
  readonly growthRate: number;
  /** By stage: the 1x1 convolutions of a layer give growthRate / 2 · bottleneckWidth channels, a multiple of 4. */
  readonly bottleneckWidths: readonly number[];
  /** Channels of the stem's first convolution. */
  readonly stemChannels: number;
  /** "leaky" in the paper's tables and "swish" in its swish rows; "relu" in the authors' checkpoint. */
  readonly activation: ActivationName;
  /** How a stage halves the resolution: "max" in the paper's networks, "avg" in the authors' checkpoint. */
  readonly pool: "max" | "avg";
  /** Channels to which a squeeze-and-excitation behind every pooled transition squeezes; 0 for none. */
  readonly squeezeChannels: number;
  /** Probability of dropping a pooled feature in training. */
  readonly dropout: number;
}

export const peleeDefaults: PeleeOptions = {
  blocks: [3, 4, 8, 6],
  growthRate: 32,
  bottleneckWidths: [1, 2, 4, 4],
  stemChannels: 32,
  activation: "leaky",
  pool: "max",
  squeezeChannels: 0,
  dropout: 0,
  inChannels: 3,
  classes: 1000,
};

/** What the SE rows of the paper's Table 3 squeeze to: hits their 2.81 M and 2.85 M parameters. */
export const paperSqueezeChannels = 8;

/** Throws for sizes that make no network of the family. */
export function checkPeleeOptions(model: string, options: PeleeOptions): void {
  const { blocks, bottleneckWidths, growthRate, stemChannels, squeezeChannels, pool } = options;
  if (blocks.length === 0)
    throw new Error(`${model}: blocks is empty; give the number of layers of each stage`);
  if (blocks.length !== bottleneckWidths.length)
    throw new Error(
      `${model}: bottleneckWidths [${bottleneckWidths.join(", ")}] needs one number for each of the ` +
        `${blocks.length} stages of blocks [${blocks.join(", ")}]`,
    );
  blocks.forEach((layers, i) => {
    if (!Number.isInteger(layers) || layers < 1)
      throw new Error(`${model}: blocks[${i}] ${layers} must be a positive integer`);
  });
  for (const [what, value] of Object.entries({ growthRate, stemChannels }))
    if (!Number.isInteger(value) || value < 2 || value % 2 !== 0)
      throw new Error(
        `${model}: ${what} ${value} must be a positive even integer; either way gives half of it`,
      );
  if (!Number.isInteger(squeezeChannels) || squeezeChannels < 0)
    throw new Error(`${model}: squeezeChannels ${squeezeChannels} must be a positive integer, or 0 for none`);
  if (pool !== "max" && pool !== "avg") throw new Error(`${model}: pool "${pool}" must be "max" or "avg"`);
}

/** Channels of the 1x1 convolutions within the layers of stage `i`. */
export function bottleneckChannels({ growthRate, bottleneckWidths }: PeleeOptions, i: number): number {
  return Math.max(4, Math.floor((growthRate / 2) * bottleneckWidths[i] * 0.25) * 4);
}

/** What halves the resolution between stages. */
export function halvingPool(pool: PeleeOptions["pool"]): Module {
  return pool === "max" ? new MaxPool2d(2) : new AvgPool2d(2);
}

/** The squeeze-and-excitation of the SE rows. */
export function squeezeExcitation(channels: number, { squeezeChannels, activation }: PeleeOptions): Module {
  return new SqueezeExcitation(channels, squeezeChannels, { activation: () => activationLayer(activation) });
}

interface StemOptions extends Pick<PeleeOptions, "stemChannels" | "activation"> {
  /** A 1x1 convolution behind the pooled branch. */
  readonly poolConvolution?: boolean;
  /** A 1x1 convolution that halves the channels of both branches together. */
  readonly closing?: boolean;
}

/**
 * PeleeNet's stem, which makes the image's sides 4 times smaller: a 3x3/2 convolution, then a max pool beside a 1x1 and
 * a 3x3/2 convolution, side by side. The input's `[N, C, H, W]` must be divisible by 4 for the branches to meet.
 */
export class StemBlock extends Module {
  readonly outChannels: number;
  readonly stem1: ConvNormActivation;
  readonly stem2a: ConvNormActivation;
  readonly stem2b: ConvNormActivation;
  readonly pool = new MaxPool2d(2);
  readonly poolConvolution: ConvNormActivation | null;
  readonly stem3: ConvNormActivation | null;

  constructor(
    inChannels: number,
    { stemChannels, activation, poolConvolution = false, closing = false }: StemOptions,
  ) {
    super();
    const half = stemChannels / 2;
    const down = { kernelSize: 3, stride: 2, activation } as const;
    this.stem1 = new ConvNormActivation(inChannels, stemChannels, down);
    this.stem2a = new ConvNormActivation(stemChannels, half, { activation });
    this.stem2b = new ConvNormActivation(half, stemChannels, down);
    this.poolConvolution = poolConvolution
      ? new ConvNormActivation(stemChannels, stemChannels, { activation })
      : null;
    this.stem3 = closing ? new ConvNormActivation(2 * stemChannels, stemChannels, { activation }) : null;
    this.outChannels = closing ? stemChannels : 2 * stemChannels;
  }

  override forward(x: Tensor): Tensor {
    const base = this.stem1.forward(x);
    const convolved = this.stem2b.forward(this.stem2a.forward(base));
    const pooled = this.pool.forward(base);
    const sides = [this.poolConvolution ? this.poolConvolution.forward(pooled) : pooled, convolved];
    const joined = concat(sides, 1);
    return this.stem3 ? this.stem3.forward(joined) : joined;
  }
}

interface TwoWayLayerOptions {
  readonly growthRate: number;
  /** Channels of the 1x1 convolutions. */
  readonly bottleneck: number;
  /** Input channels of a group in the 3x3 convolutions; 0 for one group. */
  readonly groupWidth?: number;
  readonly activation: ActivationName;
}

/**
 * The two-way dense layer, figure 1 of the PeleeNet paper: 1x1 - 3x3 beside 1x1 - 3x3 - 3x3, half of the growth each.
 * `[N, inChannels, H, W]` to `[N, growthRate, H, W]`.
 */
class TwoWayLayer extends Module {
  readonly branch1a: ConvNormActivation;
  readonly branch1b: ConvNormActivation;
  readonly branch2a: ConvNormActivation;
  readonly branch2b: ConvNormActivation;
  readonly branch2c: ConvNormActivation;

  constructor(
    inChannels: number,
    { growthRate, bottleneck, groupWidth = 0, activation }: TwoWayLayerOptions,
  ) {
    super();
    const half = growthRate / 2;
    const wide = (channels: number) => {
      const groups = groupWidth === 0 ? 1 : Math.max(1, Math.floor(channels / groupWidth));
      return new ConvNormActivation(channels, half, { kernelSize: 3, groups, activation });
    };
    this.branch1a = new ConvNormActivation(inChannels, bottleneck, { activation });
    this.branch1b = wide(bottleneck);
    this.branch2a = new ConvNormActivation(inChannels, bottleneck, { activation });
    this.branch2b = wide(bottleneck);
    this.branch2c = wide(half);
  }

  override forward(x: Tensor): Tensor {
    const short = this.branch1b.forward(this.branch1a.forward(x));
    const long = this.branch2c.forward(this.branch2b.forward(this.branch2a.forward(x)));
    return concat([short, long], 1);
  }
}

interface TwoWayBlockOptions extends TwoWayLayerOptions {
  readonly layers: number;
  /** Whether a layer reads all layers before it, or those 1, 2, 4, 8, … before. Default "dense". */
  readonly connections?: "dense" | "sparse";
}

/** A block of two-way layers that read one another. */
export function twoWayBlock(inChannels: number, options: TwoWayBlockOptions): StageBlock {
  const { layers, growthRate, connections = "dense" } = options;
  const Block = connections === "sparse" ? SparseGrowingBlock : GrowingBlock;
  return new Block({
    layers,
    inChannels,
    growthRate,
    layer: (channels) => new TwoWayLayer(channels, options),
  });
}
