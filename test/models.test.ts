/** DenseNet, CSPDenseNet and the general cross-stage-partial form: sizes, names, shapes and errors. */
import { describe, expect, it } from "vitest";
import { gradcheck } from "../src/autograd/gradcheck.ts";
import { concat } from "../src/autograd/index.ts";
import { manualSeed, nn, noGrad, ones, randn, type Tensor, zeros } from "../src/index.ts";
import {
  type CspOptions,
  csp,
  cspDenseNet,
  cspDenseNet121,
  DenseBlock,
  densenet,
  densenet121,
  type Fusion,
  Transition,
} from "../src/models/index.ts";
import { Generator } from "../src/tensor/generator.ts";

const fusions: readonly Fusion[] = ["both", "first", "last"];

const small = {
  growthRate: 4,
  bottleneckWidth: 2,
  stemChannels: 8,
  inChannels: 1,
  classes: 5,
  stem: "small",
} as const;

const images = (shape: readonly number[]) => randn(shape, { generator: new Generator(4) });

const sum = (numbers: readonly number[]) => numbers.reduce((total, n) => total + n, 0);

describe("densenet", () => {
  it("has torchvision's published parameter counts", () => {
    // torchvision 0.2x, "num_params" in the models' weight tables.
    expect(densenet121().parameterCount()).toBe(7_978_856);
    const other = densenet({ blocks: [6, 12, 32, 32], growthRate: 32, stemChannels: 64 });
    expect(other.parameterCount()).toBe(14_149_480);
  });

  it("has torchvision's state names", () => {
    const names = [...densenet121().stateDict().keys()];
    // 120 convolutions, 121 norms of five entries, the classifier's two.
    expect(names.length).toBe(120 + 121 * 5 + 2);
    expect(names.slice(0, 7)).toEqual([
      "features.conv0.weight",
      "features.norm0.weight",
      "features.norm0.bias",
      "features.norm0.running_mean",
      "features.norm0.running_var",
      "features.norm0.num_batches_tracked",
      "features.denseblock1.denselayer1.norm1.weight",
    ]);
    for (const name of [
      "features.denseblock3.denselayer24.conv2.weight",
      "features.transition3.conv.weight",
      "features.norm5.running_var",
      "classifier.bias",
    ])
      expect(names).toContain(name);
  });

  it("halves the resolution in the stem and after every stage but the last", () => {
    const shapes: string[] = [];
    const network = densenet({ ...small, stem: "imagenet", inChannels: 3, blocks: [1, 2, 1] });
    for (const [path, module] of network.namedModules())
      if (/^features\.[^.]+$/.test(path))
        module.registerForwardHook(
          (_, __, y) => void shapes.push(`${path.slice(9)} ${y.shape.slice(1).join("x")}`),
        );
    expect(noGrad(() => network.forward(images([2, 3, 64, 48]))).shape).toEqual([2, 5]);
    expect(shapes).toEqual([
      "conv0 8x32x24",
      "norm0 8x32x24",
      "relu0 8x32x24",
      "pool0 8x16x12",
      "denseblock1 12x16x12",
      "transition1 6x8x6",
      "denseblock2 14x8x6",
      "transition2 7x4x3",
      "denseblock3 11x4x3",
      "norm5 11x4x3",
    ]);
  });

  it("feeds each dense layer the concatenation of all before it", () => {
    const block = new DenseBlock(3, 2, { growthRate: 3 }).eval();
    const x = images([2, 2, 4, 4]);
    let features = x;
    for (const layer of block.namedChildren().values())
      features = concat([features, layer.forward(features)], 1);
    expect(block.outChannels).toBe(11);
    expect(block.forward(x).toArraySync()).toEqual(features.toArraySync());
  });

  it("starts with He's normal values in convolutions and no classifier bias", () => {
    manualSeed(1);
    const network = densenet({ ...small, blocks: [2], growthRate: 16 });
    const weight = network.namedParameters().get("features.denseblock1.denselayer2.conv1.weight");
    const values = [...(weight?.dataSync() ?? [])];
    const std = Math.sqrt(sum(values.map((value) => value ** 2)) / values.length);
    expect(std / Math.sqrt(2 / 24)).toBeCloseTo(1, 1);
    expect(new Set(network.classifier.bias?.dataSync())).toEqual(new Set([0]));
  });

  it("tells the instruments what its stages are", () => {
    expect(densenet({ ...small, blocks: [1, 1] }).stages).toEqual([
      { name: "stage 1", paths: ["features.denseblock1", "features.transition1"] },
      { name: "stage 2", paths: ["features.denseblock2"] },
    ]);
    expect(cspDenseNet({ ...small, blocks: [1, 1] }).stages).toEqual([
      { name: "stage 1", paths: ["features.stage1", "features.pool1"] },
      { name: "stage 2", paths: ["features.stage2"] },
    ]);
  });

  it("refuses sizes out of range, naming them", () => {
    const make = (options: object) => () => densenet({ ...small, blocks: [2, 2], ...options });
    expect(make({ growthRate: 0 })).toThrow("densenet: growthRate 0 must be a positive integer");
    expect(make({ blocks: [2, 1.5] })).toThrow("densenet: blocks[1] 1.5 must be a positive integer");
    expect(make({ blocks: [] })).toThrow(
      "densenet: blocks is empty; give the number of layers of each stage",
    );
    expect(make({ classes: -1 })).toThrow("densenet: classes -1 must be a positive integer");
    expect(make({ compression: 0 })).toThrow("densenet: compression 0 must lie in (0, 1]");
    expect(make({ compression: 1.1 })).toThrow("densenet: compression 1.1 must lie in (0, 1]");
    expect(make({ dropout: 2 })).toThrow("Dropout: probability 2 must lie between 0 and 1");
    expect(() => cspDenseNet({ ...small, blocks: [2], stemChannels: Number.NaN })).toThrow(
      "cspDenseNet: stemChannels NaN must be a positive integer",
    );
  });

  it("says in which module an image of the wrong kind failed", () => {
    const network = densenet({ ...small, blocks: [1] });
    expect(() => network.forward(ones([1, 3, 8, 8]))).toThrow(
      "conv2d: weight [8, 1, 3, 3] expects 1 input channels per group, input [1, 3, 8, 8] has 3 (in features.conv0)",
    );
  });
});

describe("cspDenseNet", () => {
  it.each(fusions)("keeps image sizes and has gradients for every parameter, fusion %s", (fusion) => {
    manualSeed(2);
    const network = cspDenseNet({ ...small, blocks: [2, 3], partialRatio: 0.25, fusion });
    const logits = network.forward(images([3, 1, 12, 12]));
    expect(logits.shape).toEqual([3, 5]);
    logits
      .mul(images([3, 5]))
      .sum()
      .backward();
    for (const [name, { grad }] of network.namedParameters())
      expect(
        grad?.dataSync().some((value) => value !== 0),
        name,
      ).toBe(true);
  });

  it("comes in DenseNet-121's size, for its images", () => {
    const network = cspDenseNet121().eval();
    const depths = network.stages.map(({ paths: [path] }) => {
      const layers = [...network.namedModules().keys()].filter((name) =>
        name.startsWith(`${path}.block.denselayer`),
      );
      return layers.filter((name) => /denselayer\d+$/.test(name)).length;
    });
    expect(depths).toEqual([6, 12, 24, 16]);
    expect(noGrad(() => network.forward(zeros([1, 3, 32, 32]))).shape).toEqual([1, 1000]);
  });
});

describe("csp", () => {
  const stage = (options: CspOptions, inChannels = 8) =>
    csp(
      {
        inChannels,
        block: (channels) => new DenseBlock(2, channels, { growthRate: 3 }),
        transition: (channels, outChannels) => new Transition(channels, outChannels),
      },
      options,
    );

  it.each([
    // 6 of 8 channels through the block, 12 come out; T keeps half of them.
    ["both", 0.25, [2, 6], 2 + 6],
    ["last", 0.25, [2, 6], 2 + 6],
    // U keeps half of all 2 + 12.
    ["first", 0.25, [2, 6], 7],
    ["both", 0.5, [4, 4], 4 + 5],
    ["both", 0.7, [6, 2], 6 + 4],
  ] as const)(
    "fusion %s, ratio %d: parts and output channels",
    (fusion, partialRatio, parts, outChannels) => {
      const made = stage({ fusion, partialRatio });
      expect([made.parts, made.outChannels]).toEqual([parts, outChannels]);
      expect(made.forward(images([2, 8, 3, 5])).shape).toEqual([2, outChannels, 3, 5]);
    },
  );

  it("sends the first channels around the block and the rest through it", () => {
    const made = stage({ fusion: "last", partialRatio: 0.5 }).eval();
    const x = images([1, 8, 2, 2]);
    const y = made.forward(x);
    expect(y.slice(1, 0, 4).toArraySync()).toEqual(x.slice(1, 0, 4).toArraySync());
    const through = made.transitionT?.forward(made.block.forward(x.slice(1, 4)));
    expect(y.slice(1, 4).toArraySync()).toEqual(through?.toArraySync());
  });

  it("makes any block partial: a user's residual block trains", () => {
    class Residual extends nn.Module {
      readonly outChannels: number;
      readonly conv: nn.Conv2d;

      constructor(channels: number) {
        super();
        this.outChannels = channels;
        this.conv = new nn.Conv2d(channels, channels, 3, { padding: 1 });
      }

      override forward(x: Tensor): Tensor {
        return x.add(this.conv.forward(x).tanh());
      }
    }
    for (const fusion of fusions) {
      manualSeed(6);
      const made = csp(
        {
          inChannels: 4,
          block: (channels) => new Residual(channels),
          transition: (channels, outChannels) => new nn.Conv2d(channels, outChannels, 1),
        },
        { fusion, compression: 1 },
      ).to("f64");
      expect(made.outChannels).toBe(4);
      const x = randn([2, 4, 3, 3], { dtype: "f64", generator: new Generator(1) });
      gradcheck((input) => made.forward(input), [x]);
      made.forward(x).sum().backward();
      expect(made.parameters().every(({ grad }) => grad !== null)).toBe(true);
    }
  });

  it("refuses ratios that leave one side empty, and settings that do not exist", () => {
    expect(() => stage({ partialRatio: 0.05 })).toThrow(
      "csp: partialRatio 0.05 leaves 0 of 8 channels to bypass the block; both sides need at least one",
    );
    expect(() => stage({ partialRatio: 1 })).toThrow("csp: partialRatio 1 leaves 8 of 8 channels");
    expect(() => stage({ partialRatio: -0.5 })).toThrow("csp: partialRatio -0.5 leaves -4 of 8 channels");
    expect(() => stage({ partialRatio: Number.NaN })).toThrow("csp: partialRatio NaN");
    expect(() => stage({}, 1)).toThrow("of 1 channels");
    const fusion: unknown = "middle";
    expect(() => stage({ fusion: fusion as Fusion })).toThrow(
      'csp: fusion "middle" must be "both", "first" or "last"',
    );
    expect(() => stage({ compression: 0 })).toThrow("csp: compression 0 must lie in (0, 1]");
  });
});
