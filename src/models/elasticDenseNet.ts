/**
 * DenseNet-201-Elastic (Wang et al. 2019, "ELASTIC: Improving CNNs with Dynamic Scaling Policies") and its
 * cross-stage-partial form, both of the CSPNet paper's Table 3. The first has the module names of the authors'
 * checkpoint (github.com/allenai/elastic). The second was never published: its stages are what reproduces the paper's
 * parameters and BFLOPs to 0.1 %.
 */
import { add, upsample } from "../autograd/index.ts";
import { AvgPool2d, BatchNorm2d, Conv2d, Dropout, Module, preActivated, ReLU } from "../nn/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { csp, type StageBlock } from "./csp.ts";
import { type DenseLayerOptions, Transition } from "./denseBlock.ts";
import {
  assembleDenseNet,
  type DenseNet,
  type ResolvedDenseNetOptions,
  resolveDenseNetOptions,
} from "./denseNetParts.ts";
import { denseStage } from "./densenet.ts";
import { GrowingBlock } from "./growingBlock.ts";
import { type CommonOptions, defineModel } from "./modelEntry.ts";

interface ElasticLayerOptions extends Required<Omit<DenseLayerOptions, "activation">> {
  /** Whether the second path works at half the resolution. */
  readonly isScaled: boolean;
}

/**
 * BN - ReLU, then twice 1x1 convolution - BN - ReLU - 3x3 convolution: at full resolution, and (the modules in `_d`) on
 * the map pooled 2x2, enlarged again afterwards. Their sum is the output: `[N, inChannels, H, W]` to
 * `[N, growthRate, H, W]`.
 */
class ElasticLayer extends Module {
  readonly conv1_d: Conv2d;
  readonly norm2_d: BatchNorm2d;
  readonly relu2_d = new ReLU();
  readonly conv2_d: Conv2d;
  readonly norm1: BatchNorm2d;
  readonly relu1 = new ReLU();
  readonly conv1: Conv2d;
  readonly norm2: BatchNorm2d;
  readonly relu2 = new ReLU();
  readonly conv2: Conv2d;
  readonly pool: AvgPool2d | null;
  readonly dropout: Dropout | null;

  constructor(inChannels: number, { growthRate, bottleneckWidth, dropout, isScaled }: ElasticLayerOptions) {
    super();
    // Both paths together are as wide as DenseNet's one.
    const width = Math.floor((bottleneckWidth * growthRate) / 2);
    const narrow = () => new Conv2d(inChannels, width, 1, { bias: false });
    const grow = () => new Conv2d(width, growthRate, 3, { padding: 1, bias: false });
    this.conv1_d = narrow();
    this.norm2_d = new BatchNorm2d(width);
    this.conv2_d = grow();
    this.norm1 = new BatchNorm2d(inChannels);
    this.conv1 = narrow();
    this.norm2 = new BatchNorm2d(width);
    this.conv2 = grow();
    this.pool = isScaled ? new AvgPool2d(2) : null;
    this.dropout = dropout > 0 ? new Dropout(dropout) : null;
  }

  override forward(x: Tensor): Tensor {
    const activated = this.relu1.forward(this.norm1.forward(x));
    const pooled = this.pool ? this.pool.forward(activated) : activated;
    const below = preActivated(this.conv1_d.forward(pooled), {
      norm: this.norm2_d,
      activation: this.relu2_d,
      conv: this.conv2_d,
    });
    const here = preActivated(this.conv1.forward(activated), {
      norm: this.norm2,
      activation: this.relu2,
      conv: this.conv2,
    });
    const size = [x.shape[2], x.shape[3]] as const;
    return add(
      this.dropout ? this.dropout.forward(here) : here,
      this.pool ? upsample(below, { size, mode: "bilinear" }) : below,
    );
  }
}

export interface ElasticDenseNetOptions extends CommonOptions {
  /** Dense layers of each stage. */
  readonly blocks: readonly number[];
  /** Channels that each layer adds. */
  readonly growthRate: number;
  /** The two paths' 1x1 convolutions give bottleneckWidth · growthRate channels together. */
  readonly bottleneckWidth: number;
  readonly stemChannels: number;
  /** Probability of dropping an output element of a layer's path at full resolution in training. */
  readonly dropout: number;
}

export interface CspElasticDenseNetOptions extends ElasticDenseNetOptions {
  /** Share γ of a stage's channels that bypasses its layers. */
  readonly partialRatio: number;
}

const defaults: ElasticDenseNetOptions = {
  blocks: [10, 20, 40, 30],
  growthRate: 32,
  bottleneckWidth: 4,
  stemChannels: 64,
  dropout: 0,
  inChannels: 3,
  classes: 1000,
};

const cspDefaults: CspElasticDenseNetOptions = { ...defaults, partialRatio: 0.5 };

const finalNorm = "norm_final";

function elasticBlock(
  layers: number,
  inChannels: number,
  options: ResolvedDenseNetOptions,
  isScaled: boolean,
): StageBlock {
  const layer = (channels: number) => new ElasticLayer(channels, { ...options, isScaled });
  return new GrowingBlock({ layers, inChannels, growthRate: options.growthRate, layer });
}

/**
 * DenseNet with elastic layers; those of the last stage have both paths at full resolution. Throws when a size is out of
 * range.
 */
export function elasticDenseNet(options: Partial<ElasticDenseNetOptions> = {}): DenseNet {
  const resolved = resolveDenseNetOptions("elasticDenseNet", { ...defaults, ...options });
  return assembleDenseNet(
    resolved,
    (position) => {
      const block = elasticBlock(position.layers, position.inChannels, resolved, !position.isLast);
      return denseStage(position, block, resolved);
    },
    finalNorm,
  );
}

/**
 * Its cross-stage-partial form: slices of x0, of which one goes through the elastic layers; both sides are pooled, then
 * T brings the computed side to half the channels of both, and the concatenation has no transition of its own. In the
 * last stage nothing is pooled and T keeps its channels. Throws when a size is out of range, or when `partialRatio`
 * leaves one side empty.
 */
export function cspElasticDenseNet(options: Partial<CspElasticDenseNetOptions> = {}): DenseNet {
  const { partialRatio, ...rest } = { ...cspDefaults, ...options };
  const resolved = resolveDenseNetOptions("cspElasticDenseNet", rest);
  const { compression } = resolved;
  return assembleDenseNet(
    resolved,
    ({ number, layers, inChannels, isLast }) => {
      const grown = inChannels + layers * resolved.growthRate;
      const stage = csp(
        {
          inChannels,
          block: (channels) => elasticBlock(layers, channels, resolved, !isLast),
          transition: (channels, outChannels) => new Transition(channels, outChannels),
          ...(isLast
            ? {}
            : {
                transitionChannels: { T: Math.floor(compression * grown) },
                pool: { place: "sides", build: () => new AvgPool2d(2) },
              }),
        },
        { partialRatio, fusion: "last", compression: isLast ? 1 : compression },
      );
      const path = `stage${number}`;
      const map = { path: `${path}.block`, channels: stage.block.outChannels };
      return { modules: { [path]: stage }, outChannels: stage.outChannels, map };
    },
    finalNorm,
  );
}

export const elasticDenseNets = [
  defineModel({
    name: "densenet-201-elastic",
    summary: "DenseNet whose layers work at two resolutions (Wang et al. 2019)",
    paperRow: "Table 3: DenseNet-201-Elastic",
    defaults,
    build: elasticDenseNet,
  }),
  defineModel({
    name: "csp-densenet-201-elastic",
    summary: "DenseNet-201-Elastic with cross-stage-partial stages",
    paperRow: "Table 3: CSPDenseNet-201-Elastic",
    defaults: cspDefaults,
    build: cspElasticDenseNet,
  }),
] as const;
