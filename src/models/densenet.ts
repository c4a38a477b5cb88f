/** DenseNet-BC (Huang et al. 2017), the network that the CSPNet paper starts from: figure 2 (a). */
import { BatchNorm2d, type Module } from "../nn/index.ts";
import { DenseBlock, Transition } from "./denseBlock.ts";
import {
  DenseNet,
  type DenseNetOptions,
  describeDenseNet,
  resolveDenseNetOptions,
  stemModules,
} from "./denseNetParts.ts";
import type { StagePaths } from "./network.ts";

/**
 * A DenseNet with torchvision's module names: stages of a dense block and a transition that compresses and halves
 * the resolution; the last stage has no transition. Throws when a size is out of range.
 *
 *     densenet({ blocks: [6, 12, 24, 16], growthRate: 32, stemChannels: 64 })   // DenseNet-121
 */
export function densenet(options: DenseNetOptions): DenseNet {
  const resolved = resolveDenseNetOptions("densenet", options);
  const features: Record<string, Module> = stemModules(resolved);
  const stages: StagePaths[] = [];
  const maps: { path: string; channels: number }[] = [];
  let channels = resolved.stemChannels;
  resolved.blocks.forEach((layers, i) => {
    const number = i + 1;
    const block = new DenseBlock(layers, channels, resolved);
    features[`denseblock${number}`] = block;
    channels = block.outChannels;
    const paths = [`features.denseblock${number}`];
    if (number < resolved.blocks.length) {
      maps.push({ path: paths[0], channels });
      const kept = Math.max(1, Math.floor(channels * resolved.compression));
      features[`transition${number}`] = new Transition(channels, kept, { pool: true });
      paths.push(`features.transition${number}`);
      channels = kept;
    }
    stages.push({ name: `stage ${number}`, paths });
  });
  features.norm5 = new BatchNorm2d(channels);
  maps.push({ path: "features.norm5", channels });
  return new DenseNet(features, channels, resolved.classes, describeDenseNet(resolved, stages, maps));
}

/** DenseNet-121: 7,978,856 parameters with 1000 classes. */
export function densenet121(options: Partial<DenseNetOptions> = {}): DenseNet {
  return densenet({ blocks: [6, 12, 24, 16], growthRate: 32, stemChannels: 64, ...options });
}
