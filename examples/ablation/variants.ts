/**
 * The networks of the ablation: a small DenseNet for 28 x 28 images, and what the CSPNet paper's Table 1 makes of its
 * own baseline. PeleeNet itself is too large for minutes of training, so the sparse and the grouped form (SPeleeNet and
 * PeleeNeXt in the paper) are those of the small DenseNet.
 */
import { duplicatedPaths, truncate } from "../../src/gradflow/index.ts";
import type { StageBlock } from "../../src/models/csp.ts";
import { assembleDenseNet, resolveDenseNetOptions } from "../../src/models/denseNetParts.ts";
import { denseStage } from "../../src/models/densenet.ts";
import { GrowingBlock, SparseGrowingBlock } from "../../src/models/growingBlock.ts";
import { cspDenseNet, DenseLayer, densenet } from "../../src/models/index.ts";
import { Conv2d } from "../../src/nn/index.ts";
import type { ComparedVariant } from "../../src/train/index.ts";

export interface AblationSize {
  /** Dense layers of each stage. */
  readonly blocks: readonly number[];
  readonly growthRate: number;
  readonly stemChannels: number;
  readonly inChannels: number;
  readonly classes: number;
}

const bottleneckWidth = 2;
/** Input channels of each group of the grouped 3x3 convolutions, 8 in PeleeNeXt. */
const groupChannels = 4;
const partialRatios = [0.25, 0.5, 0.75];

/** A dense layer whose 3x3 convolution works in groups. */
function groupedLayer(inChannels: number, growthRate: number): DenseLayer {
  const layer = new DenseLayer(inChannels, { growthRate, bottleneckWidth });
  const width = bottleneckWidth * growthRate;
  const options = { padding: 1, bias: false, groups: width / groupChannels };
  layer.replaceModule("conv2", new Conv2d(width, growthRate, 3, options));
  return layer;
}

/** A DenseNet with dense blocks of another kind. */
function denseNetOf(size: AblationSize, block: (layers: number, inChannels: number) => StageBlock) {
  const resolved = resolveDenseNetOptions("ablation", { ...size, bottleneckWidth, stem: "small" });
  return assembleDenseNet(resolved, (position) =>
    denseStage(position, block(position.layers, position.inChannels), resolved),
  );
}

const fusions = [
  { fusion: "first", about: "concatenation, then one transition: figure 3 (c)" },
  { fusion: "last", about: "transition of the dense side, then concatenation: figure 3 (d)" },
  { fusion: "both", about: "transition, concatenation, transition: figure 3 (b), CSPNet" },
] as const;

/** All variants of one size, the baseline first. Throws when the size makes no network of each. */
export function ablationVariants(size: AblationSize): ComparedVariant[] {
  const { blocks, growthRate } = size;
  const architecture = { blocks: [...blocks], growthRate };
  const options = { ...size, bottleneckWidth, stem: "small" } as const;
  const baseline: ComparedVariant = {
    name: "DenseNet",
    description: "every layer reads all maps before it",
    architecture,
    build: () => densenet(options),
  };
  const sparse: ComparedVariant = {
    name: "sparse",
    description: "a layer reads the maps 1, 2, 4, … before it, as in SPeleeNet",
    architecture: { ...architecture, connection: "sparse" },
    build: () =>
      denseNetOf(
        size,
        (layers, inChannels) =>
          new SparseGrowingBlock({
            ...{ layers, inChannels, growthRate },
            layer: (channels) => new DenseLayer(channels, { growthRate, bottleneckWidth }),
          }),
      ),
  };
  const grouped: ComparedVariant = {
    name: "grouped",
    description: `3x3 convolutions in groups of ${groupChannels} channels, as in PeleeNeXt`,
    architecture: { ...architecture, groupChannels },
    build: () =>
      denseNetOf(
        size,
        (layers, inChannels) =>
          new GrowingBlock({
            ...{ layers, inChannels, growthRate },
            layer: (channels) => groupedLayer(channels, growthRate),
          }),
      ),
  };
  const partial = fusions.flatMap(({ fusion, about }) =>
    partialRatios.map(
      (partialRatio): ComparedVariant => ({
        name: `CSP ${fusion} γ=${partialRatio}`,
        description: about,
        architecture: { ...architecture, partialRatio, fusion },
        build: () => cspDenseNet({ ...options, partialRatio, fusion }),
      }),
    ),
  );
  const variants = [baseline, sparse, grouped, ...partial];
  return [...variants, ...counterfactuals(variants)];
}

/** The same networks, seeds and images with gradient paths cut in the backward pass. */
function counterfactuals(variants: readonly ComparedVariant[]): ComparedVariant[] {
  const cut = (of: string, name: string, edit: string, keep: "nearest" | "random"): ComparedVariant[] =>
    variants
      .filter((variant) => variant.name === of)
      .map((variant) => ({
        ...variant,
        name,
        description: `${of} with ${edit}: a map's gradient comes from ${keep === "nearest" ? "its first reader" : "one reader, drawn once,"} alone`,
        counterfactual: { of, edit, edits: [truncate(duplicatedPaths({ keep }))] },
      }));
  return [
    ...cut("DenseNet", "DenseNet, duplicates cut", "truncate(duplicates)", "nearest"),
    ...cut("DenseNet", "DenseNet, as many cut at random", "truncate(random)", "random"),
    ...cut("CSP both γ=0.5", "CSP both γ=0.5, duplicates cut", "truncate(duplicates)", "nearest"),
  ];
}
