/**
 * The residual families and the paper's comparisons: sizes as published, features, shortcuts, errors. What they
 * compute is compared with PyTorch in residualNetworks.test.ts.
 */
import { describe, expect, it } from "vitest";
import { cost, inputOutput, totalFlops, trace, withoutValues } from "../src/graph/index.ts";
import { ones, randn, tensor } from "../src/index.ts";
import { createModel, type ModelName, type Network, PartialShortcut } from "../src/models/index.ts";
import { Generator } from "../src/tensor/generator.ts";
import { checkLayer } from "../src/testing/index.ts";

/** What is published of a network; only what a source gives is compared. */
interface Row {
  readonly name: ModelName;
  /** All trained numbers. */
  readonly parameters?: number;
  /** Millions of weights of convolutions and the classifier, as printed: the CSPNet paper's "#Parameter". */
  readonly weights?: string;
  /** Millions of numbers in Darknet's .weights file, as printed. */
  readonly stored?: string;
  /** 10^9 operations of convolutions at the default input, as printed. */
  readonly bflops?: string;
}

/**
 * Parameters: torchvision 0.2x, "num_params" of its weight tables. Weights, stored numbers and BFLOPs: counted by
 * another program on the public Darknet configurations of CrossStagePartialNetworks (commit 8786894) and pjreddie's.
 */
const published: readonly Row[] = [
  { name: "resnet-50", parameters: 25_557_032 },
  { name: "resnet-101", parameters: 44_549_160 },
  { name: "resnet-152", parameters: 60_192_808 },
  { name: "resnext-50", parameters: 25_028_904 },
  { name: "resnet-10", weights: "5.2400", stored: "5.2489", bflops: "2.2722" },
  { name: "resnet-50-darknet", weights: "22.7340", stored: "22.8259", bflops: "9.7412" },
  { name: "resnet-152-darknet", weights: "57.2715", stored: "57.5600" },
  { name: "resnext-50-darknet", weights: "22.1908", stored: "22.3129", bflops: "10.1103" },
  // No source gives CSPResNet-10: the paper prints 2.73 M, 2.1 % less than this structure has.
  { name: "csp-resnet-10", weights: "2.7885", stored: "2.8041", bflops: "1.9026" },
  { name: "csp-resnet-50", weights: "21.5667", stored: "21.6480", bflops: "8.9674" },
  { name: "csp-resnext-50", weights: "20.4991", stored: "20.6148", bflops: "7.9292" },
  { name: "darknet-53", weights: "41.5732", stored: "41.6456", bflops: "18.5702" },
  { name: "csp-darknet-53", weights: "27.6059", stored: "27.6775", bflops: "13.0673" },
  { name: "darknet-reference", weights: "7.3144", stored: "7.3235", bflops: "0.9646" },
  { name: "efficientnet-b0", parameters: 5_288_548 },
  { name: "efficientnet-b0-darknet", weights: "4.8084", stored: "4.8900", bflops: "0.9149" },
  // The counts of the released networks, as other ports of Pytorch-HarDNet have them too.
  { name: "hardnet-39-ds", parameters: 3_488_228 },
  { name: "hardnet-68-ds", parameters: 4_180_602 },
  { name: "hardnet-68", parameters: 17_565_348 },
  { name: "hardnet-85", parameters: 36_670_212 },
  // Printed: 35.5 M and 13.4 BFLOPs.
  { name: "hardnet-138s", parameters: 35_482_852, bflops: "13.4142" },
  // timm's res2net50_26w_4s and res2next50, 25.70 M and 24.67 M; 8.51 and 8.345 BFLOPs.
  { name: "res2net-50", parameters: 25_699_120, bflops: "8.5103" },
  { name: "res2next-50", parameters: 24_671_464, bflops: "8.3454" },
];

describe("sizes as published", () => {
  it.each(published)("$name", ({ name, parameters, weights, stored, bflops }) => {
    const model = withoutValues(() => createModel(name));
    const counted = cost(trace(model, [1, ...model.defaultInput]));
    const millions = (count: number) => (count / 1e6).toFixed(4);
    if (parameters !== undefined) expect(model.parameterCount()).toBe(parameters);
    if (weights !== undefined) expect(millions(counted.weights)).toBe(weights);
    if (stored !== undefined) expect(millions(counted.storedNumbers)).toBe(stored);
    if (bflops !== undefined) expect((totalFlops(counted.layers, "macs") / 1e9).toFixed(4)).toBe(bflops);
    expect(counted.parameters).toBe(model.parameterCount());
  });
});

describe("memory traffic", () => {
  // Figure 8 of the CSPNet paper has 34.4 and 32.6 M, which are convolutions and pools at 256 x 256.
  it.each([
    ["resnext-50-darknet", "32.968", "34.411"],
    ["csp-resnext-50", "31.198", "32.642"],
  ] as const)("%s", (name, convolutions, withPools) => {
    const model = withoutValues(() => createModel(name));
    const { layers } = cost(trace(model, [1, ...model.defaultInput]));
    const millions = (count: number) => (count / 1e6).toFixed(3);
    expect(millions(inputOutput(layers))).toBe(convolutions);
    expect(millions(inputOutput(layers, { pools: true }))).toBe(withPools);
  });
});

describe("fusion of residual stages", () => {
  const stages = [
    {
      down: 0,
      parts: [6, 4],
      partActivation: "leaky",
      blocks: 1,
      width: 4,
      outChannels: 8,
      fusedChannels: 12,
    },
    {
      down: 8,
      parts: [4, 8],
      partActivation: "linear",
      blocks: 2,
      width: 4,
      outChannels: 8,
      fusedChannels: 16,
    },
  ] as const;

  it.each([
    ["both", [12, 16], true, true],
    // Without T, U reads the blocks' own output.
    ["first", [12, 16], false, true],
    // Without U a stage gives out what is concatenated: 6 + 8 and 4 + 8.
    ["last", [14, 12], true, false],
  ] as const)("%s", (fusion, channels, hasT, hasU) => {
    const network = createModel("csp-resnext-50", { stages, groups: 2, stemChannels: 4, classes: 3, fusion });
    expect(network.featureInfo.map((map) => map.channels)).toEqual(channels);
    const modules = network.namedModules();
    expect(modules.has("features.stage2.csp.transitionT")).toBe(hasT);
    expect(modules.has("features.stage2.csp.transitionU")).toBe(hasU);
    const x = randn([2, 3, 33, 18], { generator: new Generator(5) });
    const logits = network.forward(x);
    expect(logits.shape).toEqual([2, 3]);
    logits.sum().backward();
    expect(network.parameters().every(({ grad }) => grad !== null)).toBe(true);
  });
});

describe("checkLayer on small networks", () => {
  const tiny = { classes: 3, inChannels: 1 };
  const [down, still] = [2, 1].map((stride) => ({
    hidden: 4,
    kernelSize: 3,
    stride,
    squeeze: 2,
    outChannels: 4,
  }));
  const residual = { ...tiny, stemChannels: 2, blocks: [1, 1, 1, 1] } as const;
  const networks: Readonly<Record<string, readonly [() => Network, options?: { stochastic: boolean }]>> = {
    "ResNeXt, Darknet's": [
      () => createModel("resnext-50-darknet", { ...residual, groups: 2, widthPerGroup: 32 }),
    ],
    EfficientNet: [
      () =>
        createModel("efficientnet-b0", {
          ...tiny,
          stemChannels: 4,
          headChannels: 4,
          stages: [[down, still]],
        }),
      { stochastic: true },
    ],
  };

  it.each(Object.entries(networks))("%s", (_, [make, options = {}]) =>
    checkLayer(make, {
      inputShape: [1, 20, [17, 20]],
      outputShape: ([N]) => [N, 3],
      seed: 2026,
      runs: 1,
      ...options,
    }),
  );
});

describe("PartialShortcut", () => {
  const shortcut = new PartialShortcut();

  it("adds the first channels of every second pixel of a larger map, as Darknet of November 2019", () => {
    const x = tensor([...Array(3 * 5).keys()], { shape: [1, 1, 3, 5] });
    // Rows 0 and 2, columns 0, 2 and 4; the second channel of y has no partner.
    const y = shortcut.forward(ones([1, 2, 2, 3]), x);
    expect(y.toArraySync()).toEqual([
      [
        [
          [1, 3, 5],
          [11, 13, 15],
        ],
        [
          [1, 1, 1],
          [1, 1, 1],
        ],
      ],
    ]);
  });

  it("leaves out the channels that y does not have", () => {
    const x = randn([2, 5, 3, 3], { generator: new Generator(3) });
    const y = shortcut.forward(ones([2, 2, 3, 3]), x);
    expect(y.toArraySync()).toEqual(x.slice(1, 0, 2).add(1).toArraySync());
  });

  it("refuses maps that cannot be subsampled to the same size", () => {
    expect(() => shortcut.forward(ones([1, 2, 4, 4]), ones([1, 2, 8, 4]))).toThrow(
      "PartialShortcut: map [1, 2, 8, 4] cannot be subsampled to [1, 2, 4, 4]; its sides must be the same number of times larger",
    );
    expect(() => shortcut.forward(ones([1, 2, 4, 4]), ones([1, 2, 2, 2]))).toThrow("cannot be subsampled");
  });
});

describe("every network", () => {
  it("names its sizes when they are out of range", () => {
    const make = (options: object) => () => createModel("resnet-50", options);
    expect(make({ blocks: [1, 0, 1, 1] })).toThrow("ResNet: blocks[1] 0 must be a positive integer");
    expect(make({ stemChannels: 0.5 })).toThrow("ResNet: stemChannels 0.5 must be a positive integer");
    expect(() => createModel("res2net-50", { scale: 1 })).toThrow(
      "Res2NetBlock: scale 1 must be an integer from 2 on",
    );
  });
});
