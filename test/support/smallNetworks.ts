/** The networks of the example, small enough for tests on a software adapter: for images [N, 1, 14, 14] of 10 classes. */
import { cspDenseNet, type DenseNetOptions, densenet } from "../../src/models/index.ts";

export const smallSize = {
  blocks: [2, 2],
  growthRate: 4,
  stemChannels: 8,
  bottleneckWidth: 2,
  inChannels: 1,
  classes: 10,
  stem: "small",
} as const;

type Choices = Pick<DenseNetOptions, "activation">;

export const smallNetworks = [
  ["DenseNet", (choices?: Choices) => densenet({ ...smallSize, ...choices })],
  [
    "CSPDenseNet",
    (choices?: Choices) => cspDenseNet({ ...smallSize, ...choices, partialRatio: 0.5, fusion: "both" }),
  ],
] as const;
