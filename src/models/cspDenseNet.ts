/** CSPDenseNet, the CSPNet paper's proposal: DenseNet's stages in their cross-stage-partial form, figure 2 (b). */
import { AvgPool2d, BatchNorm2d, type Module } from "../nn/index.ts";
import { type CspOptions, csp } from "./csp.ts";
import { DenseBlock, Transition } from "./denseBlock.ts";
import {
  DenseNet,
  type DenseNetOptions,
  describeDenseNet,
  resolveDenseNetOptions,
  stemModules,
} from "./denseNetParts.ts";
import type { StagePaths } from "./network.ts";

export interface CspDenseNetOptions extends DenseNetOptions, CspOptions {}

/**
 * A DenseNet whose every stage sends the share `partialRatio` of its channels around the dense block and fuses the
 * two sides by `fusion`. Every stage, the last too, has its partial transition; all but the last halve the
 * resolution. Throws when a size is out of range.
 */
export function cspDenseNet(options: CspDenseNetOptions): DenseNet {
  const resolved = resolveDenseNetOptions("cspDenseNet", options);
  const features: Record<string, Module> = stemModules(resolved);
  const stages: StagePaths[] = [];
  const maps: { path: string; channels: number }[] = [];
  let channels = resolved.stemChannels;
  resolved.blocks.forEach((layers, i) => {
    const number = i + 1;
    const stage = csp(
      {
        inChannels: channels,
        block: (inChannels) => new DenseBlock(layers, inChannels, resolved),
        transition: (inChannels, outChannels) => new Transition(inChannels, outChannels),
      },
      { ...options, compression: resolved.compression },
    );
    channels = stage.outChannels;
    features[`stage${number}`] = stage;
    const paths = [`features.stage${number}`];
    if (number < resolved.blocks.length) {
      features[`pool${number}`] = new AvgPool2d(2);
      paths.push(`features.pool${number}`);
      maps.push({ path: paths[0], channels });
    }
    stages.push({ name: `stage ${number}`, paths });
  });
  features.norm5 = new BatchNorm2d(channels);
  maps.push({ path: "features.norm5", channels });
  return new DenseNet(features, channels, resolved.classes, describeDenseNet(resolved, stages, maps));
}

/** CSPDenseNet of DenseNet-121's depth and growth rate. */
export function cspDenseNet121(options: Partial<CspDenseNetOptions> = {}): DenseNet {
  return cspDenseNet({ blocks: [6, 12, 24, 16], growthRate: 32, stemChannels: 64, ...options });
}
