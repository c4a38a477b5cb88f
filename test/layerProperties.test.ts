/** Every layer and a small network of each family, through the same property test that users are given. */
import { describe, expect, it } from "vitest";
import { cspDenseNet, densenet, type Fusion } from "../src/models/index.ts";
import * as nn from "../src/nn/index.ts";
import { type CheckLayerOptions, checkLayer } from "../src/testing/index.ts";

const image = [4, [1, 6], [1, 6]] as const;
const same = (input: readonly number[]) => input;

const layers: Readonly<Record<string, readonly [make: () => nn.Module, options: CheckLayerOptions]>> = {
  Conv2d: [
    () => new nn.Conv2d(4, 6, 3, { padding: 1, groups: 2 }),
    { inputShape: image, outputShape: ([N, , H, W]) => [N, 6, H, W] },
  ],
  "Conv2d with stride, dilation and no bias": [
    () =>
      new nn.Conv2d(4, 3, [2, 3], { stride: [2, 1], padding: [0, 1, 2, 2], dilation: [1, 2], bias: false }),
    { inputShape: image },
  ],
  Linear: [() => new nn.Linear(5, 3), { inputShape: [5], outputShape: ([N]) => [N, 3] }],
  BatchNorm2d: [() => new nn.BatchNorm2d(4), { inputShape: image, outputShape: same }],
  MaxPool2d: [() => new nn.MaxPool2d(2), { inputShape: [3, [2, 7], [2, 7]] }],
  AvgPool2d: [() => new nn.AvgPool2d(3, { stride: 2, padding: 1 }), { inputShape: image }],
  AdaptiveAvgPool2d: [
    () => new nn.AdaptiveAvgPool2d([2, 3]),
    { inputShape: image, outputShape: ([N, C]) => [N, C, 2, 3] },
  ],
  GlobalAvgPool2d: [() => new nn.GlobalAvgPool2d(), { inputShape: image }],
  Flatten: [
    () => new nn.Flatten(),
    { inputShape: image, outputShape: ([N, ...rest]) => [N, rest.reduce((a, b) => a * b)] },
  ],
  Identity: [() => new nn.Identity(), { inputShape: image, outputShape: same }],
  Dropout: [() => new nn.Dropout(0.3), { inputShape: image, outputShape: same, stochastic: true }],
  SqueezeExcitation: [
    () => new nn.SqueezeExcitation(4, 2, { activation: () => new nn.SiLU() }),
    { inputShape: image, outputShape: same },
  ],
  StochasticDepth: [
    () => new nn.StochasticDepth(0.4),
    { inputShape: image, outputShape: same, stochastic: true },
  ],
  ReLU: [() => new nn.ReLU(), { inputShape: image, outputShape: same }],
  LeakyReLU: [() => new nn.LeakyReLU(0.1), { inputShape: image, outputShape: same }],
  ReLU6: [() => new nn.ReLU6(), { inputShape: image, outputShape: same }],
  Sigmoid: [() => new nn.Sigmoid(), { inputShape: image, outputShape: same }],
  Tanh: [() => new nn.Tanh(), { inputShape: image, outputShape: same }],
  SiLU: [() => new nn.SiLU(), { inputShape: image, outputShape: same }],
  Mish: [() => new nn.Mish(), { inputShape: image, outputShape: same }],
  HardSigmoid: [() => new nn.HardSigmoid(), { inputShape: image, outputShape: same }],
  HardSwish: [() => new nn.HardSwish(), { inputShape: image, outputShape: same }],
  Sequential: [
    () =>
      new nn.Sequential(
        new nn.Conv2d(4, 4, 1, { bias: false }),
        new nn.BatchNorm2d(4),
        new nn.SiLU(),
        new nn.GlobalAvgPool2d(),
        new nn.Flatten(),
        new nn.Linear(4, 2),
      ),
    { inputShape: image, outputShape: ([N]) => [N, 2] },
  ],
};

describe("checkLayer on every layer", () => {
  it.each(Object.entries(layers))("%s", (_, [make, options]) =>
    checkLayer(make, { seed: 2026, runs: 6, ...options }),
  );

  it("leaves no layer out", () => {
    const exported = Object.entries(nn).flatMap(([name, value]) =>
      typeof value === "function" && value.prototype instanceof nn.Module ? [name] : [],
    );
    expect(exported.filter((name) => !(name in layers))).toEqual([]);
  });
});

describe("checkLayer on small networks", () => {
  const size = { blocks: [2, 2], growthRate: 3, inChannels: 1, classes: 5 };
  const options = {
    inputShape: [1, [16, 18], 16],
    outputShape: ([N]: readonly number[]) => [N, 5],
    seed: 2026,
    runs: 2,
  } as const;

  it("densenet", () => checkLayer(() => densenet(size), options));

  it.each<Fusion>(["both", "first", "last"])("cspDenseNet with fusion %s", (fusion) =>
    checkLayer(() => cspDenseNet({ ...size, fusion, partialRatio: 0.5 }), options),
  );
});
