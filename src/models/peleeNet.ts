/**
 * PeleeNet (Wang et al. 2018) as the CSPNet paper's Tables 1 and 3 have it, with the module names of the authors'
 * checkpoint; SPeleeNet is its sparse form and PeleeNeXt that with groups. Table 3 has them with swish, and with
 * squeeze-and-excitation as well.
 */
import type { Module } from "../nn/index.ts";
import { ConvNormActivation } from "./convNormActivation.ts";
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

export interface PeleeNetOptions extends PeleeOptions {
  /** Whether a layer reads all layers of its stage before it, or those 1, 2, 4, 8, … before (SPeleeNet). */
  readonly connections: "dense" | "sparse";
  /** Input channels of a group in the 3x3 convolutions, 8 in PeleeNeXt; 0 for one group. */
  readonly groupWidth: number;
}

const defaults: PeleeNetOptions = { ...peleeDefaults, connections: "dense", groupWidth: 0 };

/**
 * Stem, then stages of two-way dense layers and a 1x1 transition that keeps the channels; all but the last halve the
 * resolution. Throws when a size is out of range.
 */
export function peleeNet(given: Partial<PeleeNetOptions> = {}): FeatureNetwork {
  const options = { ...defaults, ...given };
  checkPeleeOptions("peleeNet", options);
  const { activation, blocks, inChannels } = options;
  const stem = new StemBlock(inChannels, { ...options, closing: true });
  const features: Record<string, Module> = { stemblock: stem };
  const stages: StagePaths[] = [];
  const featureInfo: FeatureInfo[] = [];
  let channels = stem.outChannels;
  blocks.forEach((layers, i) => {
    const number = i + 1;
    const bottleneck = bottleneckChannels(options, i);
    const block = twoWayBlock(channels, { ...options, layers, bottleneck });
    channels = block.outChannels;
    const parts: Record<string, Module> = {
      [`denseblock${number}`]: block,
      [`transition${number}`]: new ConvNormActivation(channels, channels, { activation }),
    };
    if (number < blocks.length) {
      parts[`transition${number}_pool`] = halvingPool(options.pool);
      if (options.squeezeChannels > 0)
        parts[`transition${number}_excitation`] = squeezeExcitation(channels, options);
    }
    Object.assign(features, parts);
    stages.push({
      name: `stage ${number}`,
      paths: Object.keys(parts).map((part) => `features.${part}`),
    });
    featureInfo.push({ path: `features.transition${number}`, channels, reduction: 4 * 2 ** i });
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

const variant = (options: Partial<PeleeNetOptions>): PeleeNetOptions => ({ ...defaults, ...options });

export const peleeNets = [
  defineModel({
    name: "peleenet",
    summary: "PeleeNet: two-way dense layers (Wang et al. 2018)",
    paperRow: "Table 3: PeleeNet",
    defaults,
    build: peleeNet,
  }),
  defineModel({
    name: "peleenet-swish",
    summary: "PeleeNet with swish activations",
    paperRow: "Table 3: PeleeNet-swish",
    defaults: variant({ activation: "swish" }),
    build: peleeNet,
  }),
  defineModel({
    name: "se-peleenet-swish",
    summary: "PeleeNet with swish and squeeze-and-excitation",
    paperRow: "Table 3: SEPeleeNet-swish",
    defaults: variant({ activation: "swish", squeezeChannels: paperSqueezeChannels }),
    build: peleeNet,
  }),
  defineModel({
    name: "speleenet",
    summary: "PeleeNet whose layers read those 1, 2, 4, 8, … before them (SparseNet, Zhu et al. 2018)",
    paperRow: "Table 3: SparsePeleeNet",
    defaults: variant({ connections: "sparse" }),
    build: peleeNet,
  }),
  defineModel({
    name: "peleenext",
    summary: "PeleeNet with groups of 8 channels in its 3x3 convolutions",
    paperRow: "Table 1: PeleeNeXt",
    defaults: variant({ groupWidth: 8 }),
    build: peleeNet,
  }),
] as const;
