/** Every network of the catalog offers the same surface; those of the dense families have the sizes published. */
import { describe, expect, it } from "vitest";
import { withoutValues } from "../src/graph/index.ts";
import { noGrad, randn, scope, zeros } from "../src/index.ts";
import { createModel, FeatureNetwork, listModels, modelEntry, type Network } from "../src/models/index.ts";
import { Conv2d, init, Linear, MaxPool2d } from "../src/nn/index.ts";
import { Generator } from "../src/tensor/generator.ts";

const names = listModels();

/** Normal numbers, drawn once: to draw the 900 million weights of all networks would take half a minute. */
const numbers = randn([65_521], { generator: new Generator(8) }).dataSync();
const scratch = new Float32Array(8e6);

/** Gives every weight values of a size that keeps activations in range. */
function fill(network: Network): void {
  for (const module of network.namedModules().values()) {
    if (!(module instanceof Conv2d || module instanceof Linear)) continue;
    const { weight } = module;
    const scale = Math.sqrt((2 * weight.shape[0]) / weight.size);
    const values = scratch.subarray(0, weight.size);
    // A prime period: no two output channels have the same values.
    for (let i = 0, at = 0; i < values.length; i++, at = at + 1 < numbers.length ? at + 1 : 0)
      values[i] = scale * numbers[at];
    weight.backend.write(weight.buffer, values);
  }
}

describe("the catalog", () => {
  it("has names that are unique, in lower case with hyphens, and a line of summary for each", () => {
    expect(names.length).toBeGreaterThan(18);
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) {
      expect(name).toMatch(/^[a-z0-9]+(-[a-z0-9]+)*$/);
      expect(modelEntry(name).summary).toMatch(/^[^\n]{10,110}[^.\n]$/);
    }
  });

  it("refuses names that it has not, with the nearest", () => {
    expect(() => createModel("csppeleenet")).toThrow(
      'createModel: there is no model "csppeleenet"; the nearest are csp-peleenet,',
    );
    expect(() => createModel("DenseNet_121")).toThrow("the nearest are densenet-121,");
    expect(() => createModel("resnet50")).toThrow("the nearest are resnet-50,");
    expect(() => createModel("")).toThrow('there is no model ""');
    expect(() => createModel("constructor")).toThrow("there is no model");
  });

  it("refuses options that a model has not, and numbers of classes that are none", () => {
    const misspelt: object = { partialratio: 0.25 };
    expect(() => createModel("csp-peleenet", misspelt)).toThrow(
      "csp-peleenet: has no option partialratio; its options are blocks, growthRate,",
    );
    expect(() => createModel("densenet-121", { classes: 0 })).toThrow(
      "densenet-121: classes 0 must be a positive integer",
    );
    expect(() => createModel("peleenet", { inChannels: 1.5 })).toThrow(
      "peleenet: inChannels 1.5 must be a positive integer",
    );
  });

  it("knows at compile time which options a model has, and what it makes", () => {
    withoutValues(() => {
      expect(createModel("peleenet").features.namedChildren().has("stemblock")).toBe(true);
      // @ts-expect-error DenseNet-121 has no fusion.
      expect(() => createModel("densenet-121", { fusion: "first" })).toThrow("has no option fusion");
      // @ts-expect-error There is no such fusion.
      expect(() => createModel("csp-peleenet", { fusion: "middle" })).toThrow('fusion "middle"');
    });
  });

  it("passes options on, and makes networks that start with values of their own", () => {
    const network = createModel("csp-peleenet", {
      classes: 200,
      inChannels: 1,
      growthRate: 8,
      stemChannels: 8,
    });
    expect(network).toBeInstanceOf(FeatureNetwork);
    expect([network.classes, network.defaultInput, network.preprocessing.mean]).toEqual([
      200,
      [1, 224, 224],
      [0],
    ]);
    const spread = (values: ArrayLike<number>) => {
      const list = Array.from(values);
      return Math.sqrt(list.reduce((sum, value) => sum + value ** 2, 0) / list.length);
    };
    // He's normal values for convolutions; uniform in ±√(1/fanIn), whose spread is √(1/3 fanIn), for the classifier.
    const conv = [...network.namedModules().values()].find(
      (module) => module instanceof Conv2d && module.weight.size > 4000,
    ) as Conv2d;
    expect(spread(conv.weight.dataSync()) * Math.sqrt(conv.weight.shape[1] / 2)).toBeCloseTo(1, 1);
    const { weight, bias } = network.classifier;
    expect(spread(weight.dataSync()) * Math.sqrt(3 * weight.shape[1])).toBeCloseTo(1, 1);
    expect(spread(bias?.dataSync() ?? [1])).toBe(0);
    const other = createModel("csp-peleenet", { classes: 200, growthRate: 8, stemChannels: 8 });
    expect(other.classifier.weight.dataSync()).not.toEqual(weight.dataSync());
  });
});

describe.each(names)("%s", (name) => {
  const shapes: Network = withoutValues(() => createModel(name).eval());
  const { featureInfo, defaultInput, preprocessing } = shapes;

  it("says what images it takes", () => {
    const [channels, height, width] = defaultInput;
    expect(defaultInput.every((size) => Number.isInteger(size) && size > 0)).toBe(true);
    expect([preprocessing.mean.length, preprocessing.std.length]).toEqual([channels, channels]);
    expect(preprocessing.std.every((value) => value > 0)).toBe(true);
    expect([height, width]).toEqual([preprocessing.crop, preprocessing.crop]);
    expect(preprocessing.resize).toBeGreaterThanOrEqual(preprocessing.crop);
  });

  it("names the modules of its stages, each once", () => {
    const modules = shapes.namedModules();
    const paths = shapes.stages.flatMap((stage) => stage.paths);
    expect(shapes.stages.length).toBeGreaterThan(2);
    expect(new Set(shapes.stages.map((stage) => stage.name)).size).toBe(shapes.stages.length);
    expect(new Set(paths).size).toBe(paths.length);
    for (const path of paths) expect(modules.has(path), path).toBe(true);
  });

  it("has one map for each resolution, as described, at its own input and at others", () => {
    const reductions = featureInfo.map(({ reduction }) => reduction);
    expect(reductions).toEqual([...new Set(reductions)].sort((a, b) => a - b));
    const [channels] = defaultInput;
    for (const [height, width] of [defaultInput.slice(1), [64, 128]])
      withoutValues(() => {
        const maps = shapes.forwardFeatures(zeros([2, channels, height, width]));
        expect(maps.map((map) => map.shape)).toEqual(
          featureInfo.map((map) => [2, map.channels, height / map.reduction, width / map.reduction]),
        );
        expect(shapes.forwardHead(maps[maps.length - 1]).shape).toEqual([2, 1000]);
      });
  });

  it("computes on images, and again with its state in another instance", () => {
    const build = (): Network => init.withoutDrawing(() => createModel(name).eval());
    const network = build();
    // The larger ones are of the same classes as smaller ones, and would take half a minute together.
    const other = shapes.parameterCount() < 12e6 ? build() : network;
    try {
      scope(() =>
        noGrad(() => {
          fill(network);
          // The smallest image that leaves a pixel.
          const side = featureInfo[featureInfo.length - 1].reduction;
          const x = randn([1, defaultInput[0], side, side], { generator: new Generator(3) });
          const expected = network.forward(x).dataSync();
          expect(expected.every(Number.isFinite)).toBe(true);
          expect(new Set(expected).size).toBeGreaterThan(500);
          expect(other.loadStateDict(network.stateDict())).toEqual({ missing: [], unexpected: [] });
          const maps = other.forwardFeatures(x);
          expect(other.forwardHead(maps[maps.length - 1]).dataSync()).toEqual(expected);
        }),
      );
    } finally {
      for (const model of [network, other]) for (const value of model.stateDict().values()) value.dispose();
    }
  });

  it("gets a classifier for other classes", () => {
    const names = [...shapes.stateDict().keys()];
    const before = shapes.parameterCount();
    const inputs = shapes.classifier.weight.shape[1];
    withoutValues(() => shapes.resetClassifier(10));
    expect(shapes.classes).toBe(10);
    expect(before - shapes.parameterCount()).toBe((1000 - 10) * (inputs + 1));
    expect(shapes.classifier.training).toBe(false);
    expect([...shapes.stateDict().keys()]).toEqual(names);
    const { channels } = featureInfo[featureInfo.length - 1];
    const logits = withoutValues(() => shapes.forwardHead(zeros([1, channels, 2, 3])));
    expect(logits.shape).toEqual([1, 10]);
    expect(() => shapes.resetClassifier(0)).toThrow("classes 0 must be a positive integer");
  });
});

describe("a network of one's own", () => {
  it("says which module path has no output", () => {
    const network = withoutValues(() => createModel("peleenet").eval());
    const x = zeros([1, 3, 32, 32]);
    expect(() => network.forwardTo(["features.stage9"], x)).toThrow(
      "FeatureNetwork: has no module features.stage9; its namedModules() lists all",
    );
    withoutValues(() =>
      expect(() => network.forwardTo(["classifier"], zeros([1, 3, 32, 32]))).toThrow(
        "FeatureNetwork: its body does not call classifier",
      ),
    );
    const [module] = network.namedModules().values();
    expect(module.hasHooks()).toBe(false);
  });
});

/** Weights of convolutions and of the classifier, without biases and norms: the CSPNet paper's "#Parameter". */
function convolutionWeights(network: Network): number {
  return [...network.namedModules().values()].reduce(
    (sum, module) => sum + (module instanceof Conv2d || module instanceof Linear ? module.weight.size : 0),
    0,
  );
}

/** Darknet's count for one image: 2 · weights · pixels for convolutions, window · outputs for max pools, in 1e9. */
function bflops(network: Network): number {
  let total = 0;
  for (const module of network.namedModules().values())
    module.registerForwardHook((_, __, { shape }) => {
      if (module instanceof Conv2d) total += 2 * module.weight.size * shape[2] * shape[3];
      if (module instanceof Linear) total += 2 * module.weight.size;
      if (module instanceof MaxPool2d)
        total += Number(module.options.kernelSize) ** 2 * shape[1] * shape[2] * shape[3];
      return undefined;
    });
  network.eval().forward(zeros([1, ...network.defaultInput]));
  return total / 1e9;
}

describe("figures of the dense families", () => {
  // Parameters in millions and BFLOPs as an independent counter of Darknet configurations gives them. They round to
  // those of the paper's Tables 1 and 3, but for the Reference nets, whose configurations were never published.
  const figures: readonly [name: string, options: object, parameters: string, operations: string][] = [
    ["peleenet", {}, "2.7915", "1.0166"],
    ["peleenet-swish", {}, "2.7915", "1.0166"],
    ["se-peleenet-swish", {}, "2.8059", "1.0166"],
    ["speleenet", {}, "2.3911", "0.9042"],
    ["peleenext", {}, "2.5070", "0.8367"],
    ["csp-peleenet", { partialRatio: 0.25 }, "3.1522", "0.9859"],
    ["csp-peleenet", {}, "2.8317", "0.8880"],
    ["csp-peleenet", { partialRatio: 0.75 }, "2.5542", "0.7997"],
    ["csp-peleenet", { partialRatio: 0.25, fusion: "first" }, "2.6116", "0.8614"],
    ["csp-peleenet", { partialRatio: 0.5, fusion: "first" }, "2.4395", "0.7553"],
    ["csp-peleenet", { partialRatio: 0.75, fusion: "first" }, "2.2675", "0.6491"],
    ["csp-peleenet", { partialRatio: 0.25, fusion: "last" }, "2.8071", "0.9024"],
    ["csp-peleenet", { partialRatio: 0.5, fusion: "last" }, "2.4866", "0.8045"],
    ["csp-peleenet", { partialRatio: 0.75, fusion: "last" }, "2.2091", "0.7162"],
    ["csp-peleenet-swish", {}, "2.8317", "0.8880"],
    ["se-csp-peleenet-swish", {}, "2.8460", "0.8880"],
    ["csp-densenet-reference", {}, "3.4772", "0.8892"],
    ["csp-densenetb-reference", {}, "1.3800", "0.6345"],
    ["csp-peleenet-reference", {}, "4.0989", "1.1051"],
    ["csp-peleenetb-reference", {}, "2.0017", "0.8996"],
  ];

  it.each(figures)("%s %j", (name, options, parameters, operations) => {
    withoutValues(() => {
      const network = createModel(name, options);
      expect((convolutionWeights(network) / 1e6).toFixed(4)).toBe(parameters);
      expect(bflops(network).toFixed(4)).toBe(operations);
    });
  });

  it.each([
    // torchvision's "num_params".
    ["densenet-121", 7_978_856, "5.6701"],
    ["densenet-169", 14_149_480, "6.7215"],
    ["densenet-201", 20_013_928, "8.5845"],
    // Counted by allenai/elastic itself.
    ["densenet-201-elastic", 19_482_824, "8.5339"],
    ["csp-densenet-201-elastic", 20_183_816, "6.9356"],
  ])("%s", (name, parameters, operations) => {
    withoutValues(() => {
      const network = createModel(name);
      expect(network.parameterCount()).toBe(parameters);
      expect(bflops(network).toFixed(4)).toBe(operations);
    });
  });
});
