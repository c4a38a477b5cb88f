/** CSPDenseNet, the CSPNet paper's proposal: DenseNet's stages in their cross-stage-partial form, figure 2 (b). */
import { AvgPool2d } from "../nn/index.ts";
import { type CspOptions, csp } from "./csp.ts";
import { DenseBlock, Transition } from "./denseBlock.ts";
import {
  assembleDenseNet,
  type DenseNet,
  type DenseNetOptions,
  resolveDenseNetOptions,
} from "./denseNetParts.ts";

export interface CspDenseNetOptions extends DenseNetOptions, CspOptions {}

/**
 * A DenseNet whose every stage sends the share `partialRatio` of its channels around the dense block and fuses the
 * two sides by `fusion`. Every stage, the last too, has its partial transition; all but the last halve the
 * resolution. Throws when a size is out of range.
 */
export function cspDenseNet(options: CspDenseNetOptions): DenseNet {
  const resolved = resolveDenseNetOptions("cspDenseNet", options);
  const { activation } = resolved;
  return assembleDenseNet(resolved, ({ number, layers, inChannels, isLast }) => {
    const stage = csp(
      {
        inChannels,
        block: (channels) => new DenseBlock(layers, channels, resolved),
        transition: (channels, outChannels) => new Transition(channels, outChannels, { activation }),
      },
      { ...options, compression: resolved.compression },
    );
    const { outChannels } = stage;
    const path = `stage${number}`;
    const modules = { [path]: stage, ...(isLast ? {} : { [`pool${number}`]: new AvgPool2d(2) }) };
    return { modules, outChannels, map: { path, channels: outChannels } };
  });
}

/** CSPDenseNet of DenseNet-121's depth and growth rate. */
export function cspDenseNet121(options: Partial<CspDenseNetOptions> = {}): DenseNet {
  return cspDenseNet({ blocks: [6, 12, 24, 16], growthRate: 32, stemChannels: 64, ...options });
}
