/** DenseNet-BC (Huang et al. 2017), the network that the CSPNet paper starts from: figure 2 (a). */
import type { StageBlock } from "./csp.ts";
import { DenseBlock, Transition } from "./denseBlock.ts";
import {
  assembleDenseNet,
  type BuiltStage,
  type DenseNet,
  type DenseNetOptions,
  type ResolvedDenseNetOptions,
  resolveDenseNetOptions,
  type StagePosition,
} from "./denseNetParts.ts";

/** A stage by torchvision's names: the block, and but for the last a transition that compresses and halves. */
export function denseStage(
  { number, isLast }: StagePosition,
  block: StageBlock,
  { compression, activation }: ResolvedDenseNetOptions,
): BuiltStage {
  const { outChannels } = block;
  const path = `denseblock${number}`;
  const map = { path, channels: outChannels };
  if (isLast) return { modules: { [path]: block }, outChannels, map };
  const kept = Math.max(1, Math.floor(outChannels * compression));
  const transition = new Transition(outChannels, kept, { pool: true, activation });
  return { modules: { [path]: block, [`transition${number}`]: transition }, outChannels: kept, map };
}

/**
 * A DenseNet with torchvision's module names: stages of a dense block and a transition that compresses and halves
 * the resolution; the last stage has no transition. Throws when a size is out of range.
 *
 *     densenet({ blocks: [6, 12, 24, 16], growthRate: 32, stemChannels: 64 })   // DenseNet-121
 */
export function densenet(options: DenseNetOptions): DenseNet {
  const resolved = resolveDenseNetOptions("densenet", options);
  return assembleDenseNet(resolved, (position) =>
    denseStage(position, new DenseBlock(position.layers, position.inChannels, resolved), resolved),
  );
}

/** DenseNet-121: 7,978,856 parameters with 1000 classes. */
export function densenet121(options: Partial<DenseNetOptions> = {}): DenseNet {
  return densenet({ blocks: [6, 12, 24, 16], growthRate: 32, stemChannels: 64, ...options });
}
