/**
 * The cross-stage-partial form of any stage (CSPNet paper, section 3.1, figures 2 and 3).
 *
 *     x0 = [x0′, x0″]                 split by channels; x0′ bypasses the block
 *     both   x_T = T(block(x0″)),  x_U = U([x0′, x_T])      figure 3 (b), the proposed form
 *     first  x_U = U([x0′, block(x0″)])                      figure 3 (c): concatenate, then transition
 *     last   [x0′, T(block(x0″))]                            figure 3 (d): transition, then concatenate
 *
 * The paper draws the split as a slice; its networks also split by two 1x1 convolutions of the whole x0, and put the
 * pooling that halves the resolution where it saves most.
 */
import { concat, split } from "../autograd/index.ts";
import { Module } from "../nn/index.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Where the two sides of a stage meet: after a transition of the dense side, before one of both, or both. */
export type Fusion = "both" | "first" | "last";

/** A block knows how many channels it gives out. */
export interface StageBlock extends Module {
  readonly outChannels: number;
}

/** A stage to be made partial: how its parts are built for any number of channels. */
export interface StageDefinition {
  /** Channels of the stage's input x0. */
  readonly inChannels: number;
  /** Builds the computational block for so many input channels. */
  block(inChannels: number): StageBlock;
  /**
   * Builds a transition layer: T behind the block or U behind the concatenation. Null where a network leaves out one
   * that `fusion` would have: the channels stay as they are.
   */
  transition(inChannels: number, outChannels: number, place: "T" | "U"): Module | null;
  /** Builds what makes one side from the whole of x0, a 1x1 convolution say. Default: the sides are slices of x0. */
  split?(inChannels: number, outChannels: number, side: "bypass" | "block"): Module;
  /** Channels of x0′ and of x0″ instead of those by `partialRatio`; with `split` they may be any. */
  readonly parts?: readonly [bypass: number, block: number];
  /** Channels that the transitions give out. Default: the stage's first one compresses, U behind T keeps all. */
  readonly transitionChannels?: { readonly T?: number; readonly U?: number };
  /**
   * Pooling within the stage: "fused" between concatenation and U, "sides" on the bypass and between block and T.
   * Default none.
   */
  readonly pool?: { readonly place: "fused" | "sides"; build(): Module };
  /** Which side's channels come first in the concatenation. Default "bypass". */
  readonly leading?: "bypass" | "block";
}

export interface CspOptions {
  /** Share γ of the channels that bypasses the block, as in the paper's Table 1. Default 0.5. */
  readonly partialRatio?: number;
  /** Default "both". */
  readonly fusion?: Fusion;
  /** Share of its input channels that the stage's first transition keeps. Default 0.5, DenseNet's compression. */
  readonly compression?: number;
}

/** The channels of the two sides. Throws when one would be empty, or when slices would not make up x0. */
function partsOf({ inChannels, parts, split }: StageDefinition, partialRatio: number) {
  if (parts) {
    const whole = parts.every((channels) => Number.isInteger(channels) && channels >= 1);
    if (!whole || (!split && parts[0] + parts[1] !== inChannels))
      throw new Error(
        `csp: parts [${parts.join(", ")}] must be positive integers` +
          (split ? "" : ` that add up to the ${inChannels} channels of the input, of which they are slices`),
      );
    return parts;
  }
  const bypass = Math.round(partialRatio * inChannels);
  if (!(bypass >= 1 && bypass < inChannels))
    throw new Error(
      `csp: partialRatio ${partialRatio} leaves ${bypass} of ${inChannels} channels to bypass the block; ` +
        "both sides need at least one",
    );
  return [bypass, inChannels - bypass] as const;
}

/** Feature maps side by side: its output is the stage's widest map, before the resolution halves. */
class Concat extends Module {
  override forward(...maps: Tensor[]): Tensor {
    return concat(maps, 1);
  }
}

/** A stage in its cross-stage-partial form. `[N, inChannels, H, W]` to `[N, outChannels, H, W]`. */
export class CspStage extends Module {
  /** Channels of x0′ and of x0″. */
  readonly parts: readonly [bypass: number, block: number];
  readonly fusion: Fusion;
  /** Makes x0′ from x0; null where it is a slice. */
  readonly splitBypass: Module | null;
  /** Makes x0″ from x0; null where it is a slice. */
  readonly splitBlock: Module | null;
  readonly block: StageBlock;
  readonly poolSides: Module | null;
  readonly transitionT: Module | null;
  readonly merge: Module = new Concat();
  readonly poolFused: Module | null;
  readonly transitionU: Module | null;
  /** Channels of the concatenation. */
  readonly mergedChannels: number;
  readonly outChannels: number;
  readonly leading: "bypass" | "block";

  constructor(
    stage: StageDefinition,
    { partialRatio = 0.5, fusion = "both", compression = 0.5 }: CspOptions = {},
  ) {
    super();
    if (!["both", "first", "last"].includes(fusion))
      throw new Error(`csp: fusion "${fusion}" must be "both", "first" or "last"`);
    if (!(compression > 0 && compression <= 1))
      throw new Error(`csp: compression ${compression} must lie in (0, 1]`);
    const { inChannels, transitionChannels, pool, leading = "bypass" } = stage;
    this.parts = partsOf(stage, partialRatio);
    this.fusion = fusion;
    this.leading = leading;
    const [bypass, part] = this.parts;
    this.splitBypass = stage.split?.(inChannels, bypass, "bypass") ?? null;
    this.splitBlock = stage.split?.(inChannels, part, "block") ?? null;
    this.block = stage.block(part);
    const dense = this.block.outChannels;
    const compressed = (channels: number) => Math.max(1, Math.floor(compression * channels));
    const kept = transitionChannels?.T ?? compressed(dense);
    this.poolSides = pool?.place === "sides" ? pool.build() : null;
    this.transitionT = fusion === "first" ? null : stage.transition(dense, kept, "T");
    this.mergedChannels = bypass + (this.transitionT ? kept : dense);
    this.poolFused = pool?.place === "fused" ? pool.build() : null;
    const fused =
      transitionChannels?.U ?? (fusion === "first" ? compressed(this.mergedChannels) : this.mergedChannels);
    this.transitionU = fusion === "last" ? null : stage.transition(this.mergedChannels, fused, "U");
    this.outChannels = this.transitionU ? fused : this.mergedChannels;
  }

  override forward(x: Tensor): Tensor {
    const { splitBypass, splitBlock, poolSides, transitionT, poolFused, transitionU } = this;
    let [bypass, computed] =
      splitBypass && splitBlock ? [splitBypass.forward(x), splitBlock.forward(x)] : split(x, this.parts, 1);
    computed = this.block.forward(computed);
    if (poolSides) [bypass, computed] = [poolSides.forward(bypass), poolSides.forward(computed)];
    if (transitionT) computed = transitionT.forward(computed);
    const sides = this.leading === "bypass" ? [bypass, computed] : [computed, bypass];
    let fused = this.merge.forward(...sides);
    if (poolFused) fused = poolFused.forward(fused);
    return transitionU ? transitionU.forward(fused) : fused;
  }
}

/**
 * Turns a stage into its cross-stage-partial form. Throws when `partialRatio` leaves no channel to one side, and for
 * an unknown fusion or a compression outside (0, 1].
 *
 *     csp({ inChannels: 64, block: (c) => new DenseBlock(4, c, { growthRate: 8 }),
 *           transition: (c, out) => new Transition(c, out) }, { partialRatio: 0.5, fusion: "both" })
 */
export function csp(stage: StageDefinition, options: CspOptions = {}): CspStage {
  return new CspStage(stage, options);
}
