/** Single layers: what they compute, their initial values, and what they say about sizes that do not fit. */
import { describe, expect, it } from "vitest";
import {
  concat,
  defaultGenerator,
  Generator,
  manualSeed,
  memoryReport,
  nn,
  ones,
  randn,
  resetPeakMemory,
  slice,
  type Tensor,
  tensor,
  zeros,
} from "../src/index.ts";
import { expectClose, readFixture, restore, type StoredTensor } from "./support/pytorchFixtures.ts";

function statistics(weight: Tensor) {
  const values = [...weight.dataSync()];
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  return { mean, std: Math.sqrt(variance), largest: Math.max(...values.map(Math.abs)) };
}

describe("initial values", () => {
  it("of convolutions and linear layers fill ±√(1 / fanIn) evenly, as PyTorch's", () => {
    manualSeed(1);
    for (const [layer, fanIn] of [
      [new nn.Conv2d(16, 128, 3, { groups: 2 }), 8 * 9],
      [new nn.Linear(100, 200), 100],
    ] as const) {
      const bound = Math.sqrt(1 / fanIn);
      const { mean, std, largest } = statistics(layer.weight);
      expect(largest).toBeLessThanOrEqual(bound);
      expect(largest).toBeGreaterThan(0.99 * bound);
      expect(Math.abs(mean)).toBeLessThan(0.05 * bound);
      expect(std / (bound / Math.sqrt(3))).toBeCloseTo(1, 1);
      const ofBias = statistics(layer.bias ?? zeros([1]));
      expect(ofBias.largest).toBeLessThanOrEqual(bound);
      expect(ofBias.largest).toBeGreaterThan(0.8 * bound);
    }
  });

  it("by name have the deviation of their papers", () => {
    manualSeed(2);
    const weight = zeros([64, 32, 3, 3]);
    const spread = (fill: () => void) => {
      fill();
      return statistics(weight).std;
    };
    expect(spread(() => nn.init.kaimingNormal(weight)) / Math.sqrt(2 / 288)).toBeCloseTo(1, 1);
    expect(spread(() => nn.init.kaimingNormal(weight, { mode: "fanOut" })) / Math.sqrt(2 / 576)).toBeCloseTo(
      1,
      1,
    );
    expect(spread(() => nn.init.xavierUniform(weight)) / Math.sqrt(2 / (288 + 576))).toBeCloseTo(1, 1);
    nn.init.constant(weight, 3);
    expect(new Set(weight.dataSync())).toEqual(new Set([3]));
    expect(() => nn.init.kaimingNormal(zeros([3]))).toThrow(
      "kaimingNormal: weight [3] needs at least 2 dimensions [out, in, …]",
    );
  });

  it("are drawn where they will lie, without memory besides", () => {
    const weight = zeros([64, 32, 3, 3]);
    resetPeakMemory();
    const { liveBytes } = memoryReport();
    nn.init.kaimingNormal(weight);
    nn.init.uniform(weight, -1, 1);
    expect(memoryReport().peakBytes).toBe(liveBytes);
  });

  it("of a view are those of a tensor of its own, and nothing around it changes", () => {
    const whole = zeros([4, 6]);
    nn.init.normal(slice(whole, 1, 2, 5), 0, 1, { generator: new Generator(7) });
    const drawn = randn([4, 3], { generator: new Generator(7) });
    const expected = concat([zeros([4, 2]), drawn, zeros([4, 1])], 1);
    expect([...whole.dataSync()]).toEqual([...expected.dataSync()]);
  });

  it("cannot be integers", () => {
    expect(() => nn.init.normal(zeros([3], { dtype: "i32" }), 0, 1)).toThrow(
      "random: draws f32 or f64; use randint() for integers",
    );
  });

  it("stay zero, and leave the generator alone, where nothing is to be drawn", () => {
    manualSeed(4);
    const before = defaultGenerator().state();
    const layer = nn.init.withoutDrawing(() => new nn.Conv2d(2, 3, 3));
    expect(new Set([...layer.weight.dataSync(), ...(layer.bias?.dataSync() ?? [1])])).toEqual(new Set([0]));
    expect(defaultGenerator().state()).toEqual(before);
    expect(() =>
      nn.init.withoutDrawing(() => {
        throw new Error("built wrongly");
      }),
    ).toThrow("built wrongly");
    expect(new Set(new nn.Linear(2, 3).weight.dataSync()).size).toBe(6);
  });

  it("repeat with the seed", () => {
    const weight = () => {
      manualSeed(9);
      return new nn.Conv2d(2, 2, 3).weight.toArraySync();
    };
    expect(weight()).toEqual(weight());
  });
});

describe("Conv2d", () => {
  it("pads each side by its own margin", () => {
    const layer = new nn.Conv2d(1, 1, 2, { padding: [1, 0, 2, 0], bias: false });
    nn.init.constant(layer.weight, 1);
    const y = layer.forward(
      tensor([
        [
          [
            [1, 2],
            [3, 4],
          ],
        ],
      ]),
    );
    expect(y.toArraySync()).toEqual([
      [
        [
          [0, 1, 3],
          [0, 4, 10],
        ],
      ],
    ]);
  });

  it("takes [vertical, horizontal] where one number does not do", () => {
    const layer = new nn.Conv2d(1, 1, [3, 1], { padding: [1, 0], stride: [1, 2], bias: false });
    nn.init.constant(layer.weight, 1);
    expect(
      layer
        .forward(
          tensor([
            [
              [
                [1, 2, 4],
                [8, 16, 32],
              ],
            ],
          ]),
        )
        .toArraySync(),
    ).toEqual([
      [
        [
          [9, 36],
          [9, 36],
        ],
      ],
    ]);
    expect(String(layer)).toBe("Conv2d(1, 1, kernelSize=[3, 1], stride=[1, 2], padding=[1, 0], bias=false)");
  });

  it("refuses sizes that do not fit, when it is made or when it runs", () => {
    expect(() => new nn.Conv2d(4, 6, 3, { groups: 3 })).toThrow(
      "Conv2d: groups 3 must divide inChannels 4 and outChannels 6",
    );
    expect(() => new nn.Conv2d(0, 6, 3)).toThrow("Conv2d: inChannels 0 must be a positive integer");
    expect(() => new nn.Conv2d(1, 6, [3, 0])).toThrow("Conv2d: kernelSize [3, 0] must be an integer >= 1");
    expect(() => new nn.Conv2d(1, 6, 3, { stride: 0 })).toThrow("Conv2d: stride 0 must be an integer >= 1");
    expect(() => new nn.Conv2d(1, 6, 3, { dilation: 0.5 })).toThrow("Conv2d: dilation 0.5 must be");
    expect(() => new nn.Conv2d(1, 6, 3, { padding: -1 })).toThrow(
      "Conv2d: padding -1 must be an integer >= 0",
    );
    const layer = new nn.Conv2d(4, 6, 3, { groups: 2 });
    expect(() => layer.forward(ones([1, 6, 5, 5]))).toThrow(
      "conv2d: weight [6, 2, 3, 3] expects 2 input channels per group, input [1, 6, 5, 5] has 3 (6 in 2 groups)",
    );
    expect(() => layer.forward(ones([4, 5, 5]))).toThrow("conv2d: expects input [N, C, H, W]");
    expect(() => layer.forward(ones([1, 4, 2, 5]))).toThrow(
      "conv2d: a window of 3 (kernel 3, dilation 1) does not fit into 2 (extent 2, padding 0 + 0)",
    );
    expect(() => layer.forward(ones([1, 4, 5, 5], { dtype: "f64" }))).toThrow(
      "conv2d: input is f64 and weight f32; both must be f32 or both f64, convert with to(dtype)",
    );
  });
});

describe("BatchNorm2d", () => {
  interface Case {
    readonly op: string;
    readonly name: string;
    readonly attributes: { readonly training: boolean; readonly momentum: number; readonly eps: number };
    readonly inputs: Readonly<Record<string, StoredTensor>>;
    readonly output: StoredTensor;
    readonly extras: Readonly<Record<string, StoredTensor>>;
  }
  const fixture: { readonly cases: readonly Case[] } = readFixture("ops");
  const cases = fixture.cases.filter(({ op }) => op === "batchNorm");

  it.each(cases)("tracks and normalises as PyTorch does: $name", ({ attributes, inputs, output, extras }) => {
    const layer = new nn.BatchNorm2d(inputs.x.shape[1], attributes).to("f64").train(attributes.training);
    const set = (name: string, stored: StoredTensor | undefined) =>
      stored && layer.loadStateDict(new Map([[name, restore(stored, "f64")]]), { strict: false });
    set("weight", inputs.weight);
    set("bias", inputs.bias);
    set("running_mean", inputs.runningMean);
    set("running_var", inputs.runningVar);
    expectClose("output", layer.forward(restore(inputs.x, "f64")), output, 1e-10);
    if (attributes.training) {
      expectClose("running_mean", layer.buffer("running_mean"), extras.runningMeanAfter, 1e-12);
      expectClose("running_var", layer.buffer("running_var"), extras.runningVarAfter, 1e-12);
    }
    expect(layer.buffer("num_batches_tracked").itemSync()).toBe(attributes.training ? 1 : 0);
  });

  it("refuses other channels and single values before the running statistics move", () => {
    const layer = new nn.BatchNorm2d(3);
    expect(() => layer.forward(ones([2, 1, 4, 4]))).toThrow(
      "BatchNorm2d: input [2, 1, 4, 4] must be [N, 3, H, W]",
    );
    expect(() => layer.forward(ones([2, 3]))).toThrow("BatchNorm2d: input [2, 3] must be [N, 3, H, W]");
    expect(() => layer.eval().forward(ones([2, 4, 1, 1]))).toThrow("must be [N, 3, H, W]");
    layer.train();
    expect(() => layer.forward(ones([1, 3, 1, 1]))).toThrow(
      "BatchNorm2d: input [1, 3, 1, 1] has one value per channel, whose variance is not defined; use a larger batch",
    );
    expect(() => layer.forward(ones([0, 3, 2, 2]))).toThrow("has no value per channel");
    expect(() => layer.forward(ones([2, 3, 2, 2], { dtype: "f64" }))).toThrow("f64");
    expect(layer.buffer("running_mean").toArraySync()).toEqual([0, 0, 0]);
    expect(layer.buffer("running_var").toArraySync()).toEqual([1, 1, 1]);
    expect(layer.buffer("num_batches_tracked").itemSync()).toBe(0);
    expect(layer.eval().forward(ones([1, 3, 1, 1])).shape).toEqual([1, 3, 1, 1]);
    expect(() => new nn.BatchNorm2d(0)).toThrow("BatchNorm2d: channels 0 must be a positive integer");
  });
});

describe("Linear", () => {
  it("multiplies the last axis, whatever comes before", () => {
    const layer = new nn.Linear(2, 3);
    layer.loadStateDict(
      new Map([
        [
          "weight",
          tensor([
            [1, 0],
            [0, 1],
            [1, 1],
          ]),
        ],
        ["bias", tensor([10, 20, 30])],
      ]),
    );
    expect(layer.forward(tensor([[[1, 2]], [[3, 4]]])).toArraySync()).toEqual([
      [[11, 22, 33]],
      [[13, 24, 37]],
    ]);
    expect(layer.forward(tensor([1, 2])).toArraySync()).toEqual([11, 22, 33]);
    expect(new nn.Linear(2, 3, { bias: false }).parameterCount()).toBe(6);
  });

  it("refuses other widths", () => {
    const layer = new nn.Linear(4, 3);
    expect(() => layer.forward(ones([2, 1, 2, 2]))).toThrow(
      "Linear: input [2, 1, 2, 2] must have 4 features in its last axis; flatten it first?",
    );
    expect(() => layer.forward(tensor(1))).toThrow("Linear: input [] must have 4 features");
    expect(() => new nn.Linear(1.5, 3)).toThrow("Linear: inFeatures 1.5 must be a positive integer");
  });
});

describe("other layers", () => {
  it("compute what their op computes, and print their settings", () => {
    manualSeed(3);
    const x = randn([2, 4, 6, 6]);
    const shapeAndName = (layer: nn.Module) => `${layer} ${layer.forward(x).shape.join("x")}`;
    expect(
      [
        new nn.ReLU(),
        new nn.LeakyReLU(0.1),
        new nn.MaxPool2d(3, { stride: 2, padding: 1 }),
        new nn.AvgPool2d([2, 3]),
        new nn.AdaptiveAvgPool2d([3, 2]),
        new nn.GlobalAvgPool2d(),
        new nn.Flatten(),
        new nn.Flatten(2),
        new nn.Dropout(0.25),
        new nn.Identity(),
      ].map(shapeAndName),
    ).toEqual([
      "ReLU() 2x4x6x6",
      "LeakyReLU(negativeSlope=0.1) 2x4x6x6",
      "MaxPool2d(kernelSize=3, stride=2, padding=1) 2x4x3x3",
      "AvgPool2d(kernelSize=[2, 3], stride=[2, 3], padding=0) 2x4x3x2",
      "AdaptiveAvgPool2d(outputSize=[3, 2]) 2x4x3x2",
      "GlobalAvgPool2d() 2x4x1x1",
      "Flatten(startAxis=1) 2x144",
      "Flatten(startAxis=2) 2x4x36",
      "Dropout(probability=0.25) 2x4x6x6",
      "Identity() 2x4x6x6",
    ]);
    expect(() => new nn.Dropout(1.5)).toThrow("Dropout: probability 1.5 must lie between 0 and 1");
  });

  it("of activation apply their formula", () => {
    const points = [-4, -1, 0.5, 7];
    const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
    const hard = (x: number) => Math.min(Math.max(x / 6 + 0.5, 0), 1);
    for (const [layer, formula] of [
      [new nn.ReLU6(), (x: number) => Math.min(Math.max(x, 0), 6)],
      [new nn.LeakyReLU(0.2), (x: number) => (x > 0 ? x : 0.2 * x)],
      [new nn.Sigmoid(), sigmoid],
      [new nn.Tanh(), Math.tanh],
      [new nn.SiLU(), (x: number) => x * sigmoid(x)],
      [new nn.Mish(), (x: number) => x * Math.tanh(Math.log1p(Math.exp(x)))],
      [new nn.HardSigmoid(), hard],
      [new nn.HardSwish(), (x: number) => x * hard(x)],
    ] as const) {
      const values = layer.forward(tensor(points, { dtype: "f64" })).dataSync();
      points.forEach((x, i) => {
        expect(values[i], `${layer} at ${x}`).toBeCloseTo(formula(x), 12);
      });
    }
  });
});

describe("losses", () => {
  it("reduce as asked, and refuse other shapes", () => {
    const [prediction, target] = [tensor([1, 4]), tensor([3, 1])];
    expect(nn.mseLoss(prediction, target).itemSync()).toBe(6.5);
    expect(nn.mseLoss(prediction, target, { reduction: "sum" }).itemSync()).toBe(13);
    expect(nn.l1Loss(prediction, target, { reduction: "none" }).toArraySync()).toEqual([2, 3]);
    expect(nn.l1Loss(prediction, target).itemSync()).toBe(2.5);
    expect(() => nn.mseLoss(prediction, ones([2, 1]))).toThrow(
      "mseLoss: prediction [2] and target [2, 1] differ in shape",
    );
  });
});

describe("SqueezeExcitation", () => {
  it("scales each channel of each image by its gate", () => {
    const layer = new nn.SqueezeExcitation(2, 1);
    nn.init.constant(layer.fc1.weight, 1);
    nn.init.constant(layer.fc1.bias ?? zeros([1]), -1);
    nn.init.constant(layer.fc2.weight, 2);
    nn.init.constant(layer.fc2.bias ?? zeros([2]), 1);
    // Channel means 1 and 3 add to 4; -1 gives 3 after ReLU; 2 · 3 + 1 = 7. Means of -1 end at gate sigmoid(1).
    const scales = [7, 1].map((z) => 1 / (1 + Math.exp(-z)));
    const x = tensor([
      [[[0, 2]], [[3, 3]]],
      [[[-1, -1]], [[-1, -1]]],
    ]);
    const y = layer.forward(x).dataSync();
    const expected = [0, 2, 3, 3]
      .map((v) => v * scales[0])
      .concat([-1, -1, -1, -1].map((v) => v * scales[1]));
    expected.forEach((value, i) => {
      expect(y[i]).toBeCloseTo(value, 6);
    });
  });

  it("refuses to squeeze to nothing", () => {
    expect(() => new nn.SqueezeExcitation(8, 0)).toThrow(
      "SqueezeExcitation: squeezeChannels 0 must be a positive integer",
    );
  });
});

describe("StochasticDepth", () => {
  it("drops whole images in training with its probability, and keeps the mean", () => {
    manualSeed(5);
    const layer = new nn.StochasticDepth(0.25);
    const y = layer.forward(ones([4000, 3, 2, 1])).dataSync();
    let dropped = 0;
    for (let image = 0; image < 4000; image++) {
      const values = new Set(y.subarray(image * 6, image * 6 + 6));
      expect(values.size).toBe(1);
      const [value] = values;
      if (value === 0) dropped++;
      else expect(value).toBeCloseTo(4 / 3, 6);
    }
    expect(Math.abs(dropped / 4000 - 0.25)).toBeLessThan(0.03);
  });

  it("passes everything on in evaluation, and refuses what is no probability", () => {
    const x = ones([2, 1, 1, 1]);
    expect(new nn.StochasticDepth(0.9).eval().forward(x)).toBe(x);
    expect(new nn.StochasticDepth(1).forward(x).dataSync()).toEqual(new Float32Array(2));
    expect(() => new nn.StochasticDepth(1.5)).toThrow(
      "StochasticDepth: probability 1.5 must lie between 0 and 1",
    );
    expect(() => new nn.StochasticDepth(0.5).forward(tensor(1))).toThrow(
      "StochasticDepth: input [] must have a batch axis [N, …]",
    );
  });
});
