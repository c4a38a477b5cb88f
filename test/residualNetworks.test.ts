/**
 * Narrow residual networks, CSPResNeXt, EfficientNet and a row of the unusual blocks against PyTorch: from the same
 * initial values, the same logits, gradients and running statistics.
 */
import { describe, expect, it } from "vitest";
import { crossEntropy } from "../src/autograd/index.ts";
import {
  BasicBlock,
  Bottleneck,
  ConvNormActivation,
  type CspResNetOptions,
  cspResNet,
  EfficientNet,
  type EfficientNetOptions,
  FeatureNetwork,
  HarmonicBlock,
  imagenetPreprocessing,
  type Network,
  Res2NetBlock,
  ResNet,
  type ResNetOptions,
} from "../src/models/index.ts";
import * as nn from "../src/nn/index.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import {
  expectClose,
  readFixture,
  restore,
  type StoredTensor,
  type StoredTensors,
} from "./support/pytorchFixtures.ts";

interface UnusualOptions {
  readonly channels: number;
  readonly classes: number;
  readonly inChannels: number;
}

type Model =
  | ({ readonly kind: "resnet" } & ResNetOptions)
  | ({ readonly kind: "cspresnet" } & Omit<CspResNetOptions, "fusion">)
  | ({ readonly kind: "efficientnet" } & Omit<EfficientNetOptions, "style" | "dropout" | "branchDropout">)
  | ({ readonly kind: "unusual" } & UnusualOptions);

interface Case {
  readonly name: string;
  readonly model: Model;
  readonly parameterNames: readonly string[];
  readonly initialState: StoredTensors;
  readonly logits: StoredTensor;
  readonly loss: StoredTensor;
  readonly gradients: StoredTensors;
  readonly buffersAfterForward: StoredTensors;
}

interface Fixture {
  readonly images: StoredTensor;
  readonly labels: StoredTensor;
  readonly cases: readonly Case[];
}

/** Every block that plain ResNets do not have, one after the other. */
function unusualBlocks({ channels: c, classes, inChannels }: UnusualOptions): Network {
  const swish = "swish" as const;
  const activation = () => new nn.SiLU();
  const grown = { inChannels: 2 * c, width: 4, outChannels: 3 * c, groups: 2 };
  const partial = { shortcut: "partial" } as const;
  const harmonic = { layers: 4, growthRate: 2, multiplier: 1.7, depthwise: false };
  const split = { inChannels: c, width: 2, outChannels: 2 * c, scale: 3, shortcut: "projection" } as const;
  const block = new HarmonicBlock(2 * c, harmonic);
  const features = {
    stem: new ConvNormActivation(inChannels, c, { kernelSize: 3, stride: 2, activation: swish }),
    split: new Res2NetBlock({ ...split, stride: 2, activation: swish }),
    chain: new Res2NetBlock({ ...split, inChannels: 2 * c, groups: 2, activation: swish }),
    excitation: new nn.SqueezeExcitation(2 * c, 2, { activation }),
    depthwise: new ConvNormActivation(2 * c, 2 * c, { kernelSize: 5, groups: 2 * c, activation: swish }),
    partial: new Bottleneck({ ...grown, ...partial, stride: 2, activation: "leaky" }),
    widened: new BasicBlock({
      inChannels: 3 * c,
      width: c,
      outChannels: 4 * c,
      activation: swish,
      ...partial,
    }),
    narrowed: new BasicBlock({
      inChannels: 4 * c,
      width: c,
      outChannels: 2 * c,
      activation: "leaky",
      ...partial,
    }),
    harmonic: block,
  };
  const defaultInput = [inChannels, 64, 64] as const;
  const preprocessing = imagenetPreprocessing(defaultInput);
  const description = { stages: [], featureInfo: [], defaultInput, preprocessing };
  return new FeatureNetwork(features, block.outChannels, { classes }, description);
}

function build(model: Model): Network {
  switch (model.kind) {
    case "resnet":
      return new ResNet(model);
    case "cspresnet":
      return cspResNet({ ...model, fusion: "both" });
    case "efficientnet":
      return new EfficientNet({ ...model, style: "torchvision", dropout: 0, branchDropout: 0 });
    case "unusual":
      return unusualBlocks(model);
  }
}

/** What is stored has six digits; PyTorch in f32 differs by up to 1.5e-5 from what is stored, its f64. */
const tolerances = { f32: 1e-4, f64: 6e-6 } as const;

function expectAllClose(
  actual: ReadonlyMap<string, Tensor>,
  expected: StoredTensors,
  relative: number,
): void {
  expect([...actual.keys()]).toEqual(Object.keys(expected));
  for (const [name, tensor] of actual) expectClose(name, tensor, expected[name], relative, 1e-3);
}

const files = ["resnet", "resnext", "resnextDarknet", "res2net", "cspResNeXt", "unusualBlocks"];
const cases = files.flatMap((file) => {
  const { images, labels, cases }: Fixture = readFixture(file);
  return cases.map((test) => ({ ...test, images, labels }));
});

describe.each(cases)("$name", (test) => {
  it("has PyTorch's parameters and buffers, by name and in order", () => {
    const network = build(test.model);
    expect([...network.stateDict().keys()]).toEqual(Object.keys(test.initialState));
    expect([...network.namedParameters().keys()]).toEqual(test.parameterNames);
  });

  it("computes the same in evaluation once norms are folded into convolutions", () => {
    const network = build(test.model).eval();
    network.loadStateDict(
      new Map(Object.entries(test.initialState).map(([name, stored]) => [name, restore(stored, "f32")])),
    );
    const folded = nn.foldForInference(network);
    expect([...folded.namedModules().values()].some((module) => module instanceof nn.BatchNorm2d)).toBe(
      false,
    );
    const images = restore(test.images, "f32");
    const [expected, logits] = [network, folded].map((model) => model.forward(images));
    const stored = { dtype: "f32", shape: expected.shape, data: [...expected.dataSync()] } as const;
    expectClose("folded logits", logits, stored, 1e-4);
  });

  it.each(["f32", "f64"] as const)("computes the same step in %s", (float) => {
    const network = build(test.model);
    if (float === "f64") network.to("f64");
    network.loadStateDict(
      new Map(Object.entries(test.initialState).map(([name, stored]) => [name, restore(stored, float)])),
    );
    const logits = network.forward(restore(test.images, float));
    const loss = crossEntropy(logits, restore(test.labels, float));
    loss.backward();
    const tolerance = tolerances[float];
    expectClose("logits", logits, test.logits, tolerance);
    expectClose("loss", loss, test.loss, tolerance);
    const gradients = [...network.namedParameters()].flatMap(([name, { grad }]) =>
      grad ? [[name, grad] as const] : [],
    );
    expectAllClose(new Map(gradients), test.gradients, tolerance);
    expectAllClose(network.namedBuffers(), test.buffersAfterForward, tolerance);
  });
});
