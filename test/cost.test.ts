/** Tracing leaves a network as it was, and what is counted on its graph equals what is counted by hand. */
import { describe, expect, it } from "vitest";
import { add, channelMaxout, conv2d, onOp } from "../src/autograd/index.ts";
import { hasOpListeners } from "../src/autograd/observers.ts";
import { type countingRules, inputOutput, layerFlops, totalFlops } from "../src/graph/countingRules.ts";
import { cost, trace, withoutValues } from "../src/graph/index.ts";
import { cspDenseNet, densenet, densenet121 } from "../src/models/index.ts";
import {
  AvgPool2d,
  BatchNorm2d,
  Conv2d,
  Dropout,
  Flatten,
  GlobalAvgPool2d,
  Linear,
  MaxPool2d,
  Module,
  ReLU,
  Sequential,
} from "../src/nn/index.ts";
import { randn, zeros } from "../src/tensor/create.ts";
import { memoryReport } from "../src/tensor/runtime.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { PostActivationDense } from "./support/userStages.ts";

const costOf = (module: Module, shape: readonly number[]) => cost(trace(module, zeros(shape)));

describe("trace", () => {
  const network = () =>
    densenet({ blocks: [2, 2], growthRate: 2, stem: "small", inChannels: 1, classes: 3, dropout: 0.5 });

  it("changes no parameter, no running statistic, and no module's mode", () => {
    const traced = network().train();
    const frozen = traced.namedModules().get("features.denseblock1");
    frozen?.eval();
    const state = () =>
      [...traced.stateDict()].map(([name, tensor]) => [name, Array.from(tensor.dataSync())]);
    const modes = () => [...traced.namedModules()].map(([path, { training }]) => [path, training]);
    const [stateBefore, modesBefore] = [state(), modes()];
    expect(modesBefore.map(([, training]) => training)).toContain(false);
    trace(traced, randn([2, 1, 12, 12]));
    expect(state()).toEqual(stateBefore);
    expect(modes()).toEqual(modesBefore);
  });

  it("restores the modes and stops listening when the network fails", () => {
    class Failing extends Module {
      readonly dropout = new Dropout(0.5);
      override forward(x: Tensor): Tensor {
        return this.dropout.forward(conv2d(x, zeros([1, 5, 1, 1])));
      }
    }
    const failing = new Failing().train();
    expect(() => trace(failing, zeros([1, 1, 2, 2]))).toThrow("conv2d");
    expect(failing.dropout.training).toBe(true);
    expect(hasOpListeners()).toBe(false);
  });

  it("runs in evaluation mode, records nothing for gradients, and frees what it computed", () => {
    const traced = network().train();
    const images = randn([1, 1, 12, 12]);
    const before = memoryReport().liveBytes;
    let recorded = 0;
    const stop = onOp(({ output: made }) => {
      if (made.requiresGrad) recorded += 1;
    });
    const { graph, inputs, output } = trace(traced, images);
    stop();
    expect(recorded).toBe(0);
    expect(memoryReport().liveBytes).toBe(before);
    expect(graph.nodes.map(({ op }) => op)).not.toContain("batchStatistics");
    expect(graph.values[inputs[0]]).toMatchObject({ shape: [1, 1, 12, 12], producer: null, parameter: null });
    expect(graph.values[output].shape).toEqual([1, 3]);
    expect(graph.values[output].consumers).toEqual([]);
  });

  it("gives a graph whose edges agree in both directions, producers first", () => {
    const { graph } = trace(network(), zeros([1, 1, 12, 12]));
    for (const { id, inputs, output } of graph.nodes) {
      expect(graph.values[output].producer).toBe(id);
      inputs.forEach((value, slot) => {
        expect(graph.values[value].consumers).toContainEqual({ node: id, slot });
        expect(graph.values[value].producer ?? -1).toBeLessThan(id);
      });
    }
    const edges = graph.values.reduce((sum, { consumers }) => sum + consumers.length, 0);
    expect(edges).toBe(graph.nodes.reduce((sum, { inputs }) => sum + inputs.length, 0));
  });

  it("names every parameter that was read", () => {
    const traced = network();
    const { graph } = trace(traced, zeros([1, 1, 12, 12]));
    const named = graph.values.flatMap(({ parameter }) => (parameter === null ? [] : [parameter]));
    expect(named.sort()).toEqual([...traced.namedParameters().keys()].sort());
  });
});

describe("cost", () => {
  it("is what one counts by hand: strides, padding, groups, bias, a classifier, any batch", () => {
    const network = new Sequential(
      new Conv2d(3, 4, 3, { stride: 2, padding: 1 }),
      new Conv2d(4, 4, 3, { padding: 1, groups: 4 }),
      new Flatten(),
      new Linear(80, 3),
    );
    for (const images of [1, 2, 5]) {
      // 7 x 9 pixels become 4 x 5.
      const { layers, ...totals } = costOf(network, [images, 3, 7, 9]);
      expect(totals).toEqual({
        parameters: 4 * 27 + 4 + (4 * 9 + 4) + (240 + 3),
        weights: 4 * 27 + 4 * 9 + 240,
        storedNumbers: 4 * 27 + 4 + (4 * 9 + 4) + (240 + 3),
        flopsPerImage: 4320 + 1440 + 480,
        convInputOutput: 269 + 160 + 83,
      });
      expect(layers).toEqual([
        {
          ...{ modulePath: "0", op: "conv2d", kind: "convolution", weights: 108, parameters: 112 },
          ...{ inputShape: [3, 7, 9], outputShape: [4, 4, 5], multiplyAdds: 80 * 27, inputOutput: 269 },
          windowElements: 0,
        },
        {
          ...{ modulePath: "1", op: "conv2d", kind: "convolution", weights: 36, parameters: 40 },
          ...{ inputShape: [4, 4, 5], outputShape: [4, 4, 5], multiplyAdds: 80 * 9, inputOutput: 160 },
          windowElements: 0,
        },
        {
          ...{ modulePath: "3", op: "matmul", kind: "linear", weights: 240, parameters: 240 },
          ...{ inputShape: [80], outputShape: [3], multiplyAdds: 240, inputOutput: 83, windowElements: 0 },
        },
        {
          ...{ modulePath: "3", op: "add", kind: "other", weights: 0, parameters: 3 },
          ...{ inputShape: [3], outputShape: [3], multiplyAdds: 0, inputOutput: 6, windowElements: 0 },
        },
      ]);
    }
  });

  it.each([1, 2, 5])("finds the paper's memory traffic of a dense block of %i layers", (m) => {
    const [c, d, pixels] = [8, 3, 30];
    const dense = costOf(new PostActivationDense(c, d, m), [1, c, 6, 5]);
    // Section 3.1: c·m + (m² + m)·d/2, for every pixel; half of c in a partial block.
    expect(dense.convInputOutput).toBe(pixels * (c * m + ((m * m + m) * d) / 2));
    const partial = costOf(new PostActivationDense(c / 2, d, m), [1, c / 2, 6, 5]);
    expect(partial.convInputOutput).toBe(pixels * ((c / 2) * m + ((m * m + m) * d) / 2));
  });

  it("counts a layer that runs twice twice, and its parameters once", () => {
    class Twice extends Module {
      readonly conv = new Conv2d(2, 2, 1, { bias: false });
      override forward(x: Tensor): Tensor {
        return add(this.conv.forward(x), this.conv.forward(this.conv.forward(x)));
      }
    }
    const { parameters, flopsPerImage, layers } = costOf(new Twice(), [1, 2, 3, 3]);
    expect([parameters, flopsPerImage]).toEqual([4, 3 * 2 * 9 * 4]);
    expect(layers.map(({ kind }) => kind)).toEqual(["convolution", "convolution", "convolution", "add"]);
    expect(layers.map(({ weights }) => weights)).toEqual([4, 0, 0, 0]);
  });

  it("counts the statistics of a norm that runs twice once", () => {
    class Normed extends Module {
      readonly norm = new BatchNorm2d(3);
      override forward(x: Tensor): Tensor {
        return this.norm.forward(this.norm.forward(x));
      }
    }
    expect(costOf(new Normed(), [1, 3, 2, 2])).toMatchObject({
      parameters: 6,
      storedNumbers: 12,
      weights: 0,
    });
  });

  it.each(["both", "first", "last"] as const)("agrees with parameterCount, fusion %s", (fusion) => {
    const network = cspDenseNet({ blocks: [2, 3], growthRate: 3, inChannels: 1, classes: 5, fusion });
    expect(costOf(network, [1, 1, 32, 32]).parameters).toBe(network.parameterCount());
  });

  it("is zero for a network without layers, and refuses an empty batch", () => {
    expect(costOf(new Flatten(), [1, 2, 2, 2])).toEqual({
      ...{ parameters: 0, weights: 0, storedNumbers: 0, flopsPerImage: 0, convInputOutput: 0 },
      layers: [],
    });
    expect(() => costOf(new Conv2d(2, 1, 1), [0, 2, 4, 4])).toThrow("the traced batch [0, 2, 4, 4] is empty");
  });

  it("counts DenseNet-121 as torchvision does", () => {
    const network = withoutValues(densenet121);
    const { parameters, flopsPerImage, convInputOutput } = costOf(network, [1, 3, 224, 224]);
    expect(parameters).toBe(7_978_856);
    expect(parameters).toBe(network.parameterCount());
    // torchvision lists 2.834 billion multiply-adds.
    expect(flopsPerImage / 2e9).toBeCloseTo(2.834, 2);
    expect(Math.abs(flopsPerImage / 2 / 2.834e9 - 1)).toBeLessThan(0.005);

    // Huang et al. 2017, table 1, multiplied out: 112, 56, 28, 14 and 7 pixels a side.
    let [multiplyAdds, traffic, channels] = [112 ** 2 * 64 * 3 * 49, 3 * 224 ** 2 + 64 * 112 ** 2, 64];
    [6, 12, 24, 16].forEach((layers, stage) => {
      const pixels = (56 / 2 ** stage) ** 2;
      for (let i = 0; i < layers; i++) {
        multiplyAdds += pixels * (channels * 128 + 128 * 32 * 9);
        traffic += pixels * (channels + 128 + 128 + 32);
        channels += 32;
      }
      if (stage === 3) return;
      multiplyAdds += (pixels * channels * channels) / 2;
      traffic += pixels * (channels + channels / 2);
      channels /= 2;
    });
    expect(flopsPerImage).toBe(2 * (multiplyAdds + 1024 * 1000));
    expect(convInputOutput).toBe(traffic + 1024 + 1000);
  });
});

describe("counting rules", () => {
  class Maxout extends Module {
    override forward(x: Tensor): Tensor {
      return channelMaxout(x, 2);
    }
  }
  /** [3, 8, 6] -> [4, 8, 6] three times -> [4, 4, 3] -> [2, 4, 3] -> [2, 2, 1] -> [2, 1, 1] -> [5] */
  const network = new Sequential(
    new Conv2d(3, 4, 3, { padding: 1, bias: false }),
    new BatchNorm2d(4),
    new ReLU(),
    new MaxPool2d(3, { stride: 2, padding: 1 }),
    new Maxout(),
    new AvgPool2d(2),
    new GlobalAvgPool2d(),
    new Flatten(),
    new Linear(2, 5),
  );
  const counted = costOf(network, [2, 3, 8, 6]);
  const byLayer = (rule: (typeof countingRules)[number]) =>
    counted.layers.map((layer) => [layer.kind, layerFlops(layer, rule)]).filter(([, flops]) => flops !== 0);

  it("names every layer", () => {
    expect(counted.layers.map(({ modulePath, kind }) => `${modulePath} ${kind}`)).toEqual([
      ...["0 convolution", "1 norm", "2 activation", "3 maxPool", "4 maxout", "5 avgPool", "6 globalPool"],
      ...["6 other", "8 linear", "8 other"],
    ]);
  });

  it("are Darknet's, whose sum the paper calls BFLOPs", () => {
    expect(byLayer("darknet")).toEqual([
      ["convolution", 2 * 4 * 27 * 48],
      ["maxPool", 9 * 4 * 12],
      ["maxout", 4 * 12],
      ["linear", 2 * 10],
    ]);
  });

  it("are those of allenai/elastic", () => {
    expect(byLayer("elastic")).toEqual([
      ["convolution", 2 * 4 * 27 * 48],
      ["norm", 2 * 2 * 4 * 48],
      ["activation", 2 * 4 * 48],
      ["maxPool", 2 * 4 * 48],
      ["avgPool", 2 * 2 * 12],
      ["linear", 2 * 10],
    ]);
  });

  it("are multiply-adds alone", () => {
    expect(byLayer("macs")).toEqual([
      ["convolution", 2 * 4 * 27 * 48],
      ["linear", 2 * 10],
    ]);
    expect(totalFlops(counted.layers, "macs")).toBe(counted.flopsPerImage);
  });

  it("count what a .weights file holds, and the traffic with and without pools", () => {
    expect(counted.weights).toBe(108 + 10);
    expect(counted.parameters).toBe(108 + 8 + 10 + 5);
    expect(counted.storedNumbers).toBe(108 + 16 + 10 + 5);
    const convolutions = 3 * 48 + 4 * 48 + (2 + 5);
    expect(inputOutput(counted.layers)).toBe(convolutions);
    expect(inputOutput(counted.layers, { pools: true })).toBe(
      convolutions + (4 * 48 + 4 * 12) + (4 * 12 + 2 * 12) + (2 * 12 + 2 * 2) + (2 * 2 + 2),
    );
  });
});
