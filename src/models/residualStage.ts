/** Residual blocks in a row, and such a row in the cross-stage-partial form of the CSPNet paper's figure 5. */
import { type Module, Sequential } from "../nn/index.ts";
import { type ActivationName, ConvNormActivation } from "./convNormActivation.ts";
import { type CspStage, csp, type Fusion, type StageBlock } from "./csp.ts";

/** Blocks one after the other. */
export class BlockRow extends Sequential implements StageBlock {
  readonly outChannels: number;

  /** `build` makes a block for so many input channels. */
  constructor(count: number, inChannels: number, build: (inChannels: number) => StageBlock) {
    const blocks: StageBlock[] = [];
    for (let i = 0; i < count; i++) blocks.push(build(blocks.at(-1)?.outChannels ?? inChannels));
    super(Object.fromEntries(blocks.entries()));
    this.outChannels = blocks.at(-1)?.outChannels ?? inChannels;
  }
}

export interface PartialStageOptions {
  readonly inChannels: number;
  /** Channels that two 1x1 convolutions make of the input: those around the blocks, and those through them. */
  readonly parts: readonly [bypass: number, block: number];
  /** Activation of those two. */
  readonly partActivation: ActivationName;
  /** How many blocks. */
  readonly blocks: number;
  /** Builds a block for so many input channels. */
  block(inChannels: number): StageBlock;
  /** Channels of U's output. */
  readonly fusedChannels: number;
  readonly activation: ActivationName;
  readonly fusion: Fusion;
}

/**
 * The CSP form of a row of residual blocks: 1x1 convolutions make both parts of the whole input, T and U are 1x1
 * convolutions too, T keeps the blocks' channels, and the blocks' side comes first in the concatenation.
 */
export function partialStage(options: PartialStageOptions): CspStage {
  const { inChannels, parts, partActivation, blocks, fusedChannels, activation, fusion } = options;
  const stage = {
    inChannels,
    parts,
    split: (from: number, to: number): Module =>
      new ConvNormActivation(from, to, { activation: partActivation }),
    block: (from: number) => new BlockRow(blocks, from, options.block),
    transition: (from: number, to: number): Module => new ConvNormActivation(from, to, { activation }),
    transitionChannels: { U: fusedChannels },
    leading: "block",
  } as const;
  // T compresses nothing; U's channels are given.
  return csp(stage, { fusion, compression: 1 });
}
