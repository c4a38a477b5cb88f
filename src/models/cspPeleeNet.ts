/**
 * CSPPeleeNet, the network of the CSPNet paper's ablation (Table 1): PeleeNet's stages in their cross-stage-partial
 * form, with both transitions, or fused first or last. γ is the share of channels that bypasses the dense layers.
 *
 *     both   x0 -> 1x1 γ | 1x1 1-γ -> dense layers -> T;  concatenate, pool, U
 *     last   the same without U
 *     first  the same without T, where the next stage's two 1x1 convolutions stand for the one transition: the pool
 *            lies before the bypass's and behind the other
 *
 * As figure 7 of the paper draws it, layer by layer: the sides are two 1x1 convolutions of the whole x0, and U comes
 * after the pool; stage 1 is halved whatever γ.
 */
import { type Module, Sequential } from "../nn/index.ts";
import { ConvNormActivation } from "./convNormActivation.ts";
import { csp, type Fusion } from "./csp.ts";
import { FeatureNetwork } from "./featureNetwork.ts";
import { defineModel } from "./modelEntry.ts";
import { darknetPreprocessing, type FeatureInfo, type StagePaths } from "./network.ts";
import {
  bottleneckChannels,
  checkPeleeOptions,
  halvingPool,
  type PeleeOptions,
  paperSqueezeChannels,
  peleeDefaults,
  StemBlock,
  squeezeExcitation,
  twoWayBlock,
} from "./peleeParts.ts";

export interface CspPeleeNetOptions extends Omit<PeleeOptions, "blocks"> {
  /** Two-way dense layers of each stage; "paper" is 2, 4, 8, 4, and 2, 4, 8, 6 for fusion "first". */
  readonly blocks: readonly number[] | "paper";
  /** Share γ of a stage's channels that bypasses its layers, from stage 2 on. */
  readonly partialRatio: number;
  readonly fusion: Fusion;
}

const defaults: CspPeleeNetOptions = {
  ...peleeDefaults,
  blocks: "paper",
  partialRatio: 0.5,
  fusion: "both",
};

/**
 * Builds CSPPeleeNet. Throws when a size is out of range, when `partialRatio` leaves one side of a stage empty, and for
 * an unknown fusion.
 */
export function cspPeleeNet(given: Partial<CspPeleeNetOptions> = {}): FeatureNetwork {
  const { blocks: paperBlocks, ...rest } = { ...defaults, ...given };
  const { fusion, activation, inChannels } = rest;
  const blocks = paperBlocks === "paper" ? [2, 4, 8, fusion === "first" ? 6 : 4] : paperBlocks;
  const options = { ...rest, blocks };
  checkPeleeOptions("cspPeleeNet", options);
  const stem = new StemBlock(inChannels, { ...options, poolConvolution: fusion === "both" });
  const features: Record<string, Module> = { stemblock: stem };
  const stages: StagePaths[] = [];
  const featureInfo: FeatureInfo[] = [];
  let channels = stem.outChannels;
  const conv1x1 = (from: number, to: number) => new ConvNormActivation(from, to, { activation });
  const pool = () => halvingPool(options.pool);
  blocks.forEach((layers, i) => {
    const number = i + 1;
    const isLast = number === blocks.length;
    const bottleneck = bottleneckChannels(options, i);
    const stage = csp(
      {
        inChannels: channels,
        block: (from) => twoWayBlock(from, { ...options, layers, bottleneck }),
        // Fusion first: what the stage before has left to pool.
        split: (from, to, side) => {
          if (fusion !== "first" || i === 0) return conv1x1(from, to);
          return side === "bypass"
            ? new Sequential(pool(), conv1x1(from, to))
            : new Sequential(conv1x1(from, to), pool());
        },
        transition: (from, to, place) =>
          fusion === "first" && place === "U" && !isLast ? null : conv1x1(from, to),
        ...(isLast || fusion === "first" ? {} : { pool: { place: "fused", build: pool } }),
      },
      {
        compression: 1,
        partialRatio: i === 0 ? 0.5 : options.partialRatio,
        // The last stage has its U, whatever the fusion: the classifier reads mixed channels.
        fusion: isLast && fusion === "last" ? "both" : fusion,
      },
    );
    features[`stage${number}`] = stage;
    const paths = [`features.stage${number}`];
    channels = stage.outChannels;
    if (options.squeezeChannels > 0 && !isLast) {
      features[`excitation${number}`] = squeezeExcitation(channels, options);
      paths.push(`features.excitation${number}`);
    }
    stages.push({ name: `stage ${number}`, paths });
    const path = `features.stage${number}${isLast ? "" : ".merge"}`;
    featureInfo.push({
      path,
      channels: isLast ? channels : stage.mergedChannels,
      reduction: 4 * 2 ** i,
    });
  });
  const defaultInput = [inChannels, 224, 224] as const;
  const preprocessing = darknetPreprocessing(defaultInput);
  return new FeatureNetwork(features, channels, options, {
    stages,
    featureInfo,
    defaultInput,
    preprocessing,
  });
}

const variant = (options: Partial<CspPeleeNetOptions>): CspPeleeNetOptions => ({ ...defaults, ...options });

export const cspPeleeNets = [
  defineModel({
    name: "csp-peleenet",
    summary: "PeleeNet with cross-stage-partial stages; Table 1 has it by partialRatio and fusion",
    paperRow: "Table 3: CSPPeleeNet",
    defaults,
    build: cspPeleeNet,
  }),
  defineModel({
    name: "csp-peleenet-swish",
    summary: "CSPPeleeNet with swish activations",
    paperRow: "Table 3: CSPPeleeNet-swish",
    defaults: variant({ activation: "swish" }),
    build: cspPeleeNet,
  }),
  defineModel({
    name: "se-csp-peleenet-swish",
    summary: "CSPPeleeNet with swish and squeeze-and-excitation",
    paperRow: "Table 3: SECSPPeleeNet-swish",
    defaults: variant({ activation: "swish", squeezeChannels: paperSqueezeChannels }),
    build: cspPeleeNet,
  }),
] as const;
