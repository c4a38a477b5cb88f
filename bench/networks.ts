/** The networks of the training and inference tables. */
import type { NetworkSize } from "./peers/task.ts";

const small = { stem: "small", inChannels: 1, classes: 10, extent: 28 } as const;

export interface NamedNetwork {
  readonly name: string;
  readonly size: NetworkSize;
}

export const denseNet121: NetworkSize = {
  ...{ blocks: [6, 12, 24, 16], growthRate: 32, bottleneckWidth: 4, stemChannels: 64 },
  ...{ stem: "imagenet", inChannels: 3, classes: 1000, extent: 224, batch: 8 },
};
export const cspDenseNet121: NetworkSize = { ...denseNet121, fusion: "both" };

/** Of examples/gradient-reuse.ts. */
export const exampleNetwork: NetworkSize = {
  ...{ ...small, blocks: [3, 3, 3], growthRate: 8, bottleneckWidth: 2, stemChannels: 16, batch: 16 },
};

/** So small that what a step costs besides arithmetic decides. */
const toy: NetworkSize = {
  ...{ ...small, blocks: [2, 2], growthRate: 4, bottleneckWidth: 2, stemChannels: 8, batch: 32 },
};

export const trainedNetworks: readonly NamedNetwork[] = [
  { name: "DenseNet-121, batch 8, 224 x 224", size: denseNet121 },
  { name: "CSPDenseNet-121, batch 8, 224 x 224", size: cspDenseNet121 },
  { name: "the example's DenseNet, batch 16, 28 x 28", size: exampleNetwork },
  { name: "a toy DenseNet, batch 32, 28 x 28", size: toy },
];
