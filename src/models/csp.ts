/**
 * The cross-stage-partial form of any stage (CSPNet paper, section 3.1, figures 2 and 3).
 *
 *     x0 = [x0′, x0″]                 split by channels; x0′ bypasses the block
 *     both   x_T = T(block(x0″)),  x_U = U([x0′, x_T])      figure 3 (b), the proposed form
 *     first  x_U = U([x0′, block(x0″)])                      figure 3 (c): concatenate, then transition
 *     last   [x0′, T(block(x0″))]                            figure 3 (d): transition, then concatenate
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
  /** Builds a transition layer. */
  transition(inChannels: number, outChannels: number): Module;
}

export interface CspOptions {
  /** Share γ of the channels that bypasses the block, as in the paper's Table 1. Default 0.5. */
  readonly partialRatio?: number;
  /** Default "both". */
  readonly fusion?: Fusion;
  /** Share of its input channels that the stage's first transition keeps. Default 0.5, DenseNet's compression. */
  readonly compression?: number;
}

/** A stage in its cross-stage-partial form. `[N, inChannels, H, W]` to `[N, outChannels, H, W]`. */
export class CspStage extends Module {
  /** Channels of x0′ and of x0″. */
  readonly parts: readonly [bypass: number, block: number];
  readonly fusion: Fusion;
  readonly block: StageBlock;
  readonly transitionT: Module | null;
  readonly transitionU: Module | null;
  readonly outChannels: number;

  constructor(
    stage: StageDefinition,
    { partialRatio = 0.5, fusion = "both", compression = 0.5 }: CspOptions = {},
  ) {
    super();
    if (!["both", "first", "last"].includes(fusion))
      throw new Error(`csp: fusion "${fusion}" must be "both", "first" or "last"`);
    if (!(compression > 0 && compression <= 1))
      throw new Error(`csp: compression ${compression} must lie in (0, 1]`);
    const bypass = Math.round(partialRatio * stage.inChannels);
    if (!(bypass >= 1 && bypass < stage.inChannels))
      throw new Error(
        `csp: partialRatio ${partialRatio} leaves ${bypass} of ${stage.inChannels} channels to bypass the block; ` +
          "both sides need at least one",
      );
    this.parts = [bypass, stage.inChannels - bypass];
    this.fusion = fusion;
    this.block = stage.block(this.parts[1]);
    const dense = this.block.outChannels;
    const kept = Math.max(1, Math.floor(compression * (fusion === "first" ? bypass + dense : dense)));
    this.transitionT = fusion === "first" ? null : stage.transition(dense, kept);
    this.transitionU = {
      both: () => stage.transition(bypass + kept, bypass + kept),
      first: () => stage.transition(bypass + dense, kept),
      last: () => null,
    }[fusion]();
    this.outChannels = fusion === "first" ? kept : bypass + kept;
  }

  override forward(x: Tensor): Tensor {
    const [bypass, part] = split(x, this.parts, 1);
    const computed = this.block.forward(part);
    const transferred = this.transitionT ? this.transitionT.forward(computed) : computed;
    const merged = concat([bypass, transferred], 1);
    return this.transitionU ? this.transitionU.forward(merged) : merged;
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
