/** Equations of stages that the paper does not have: what they must be follows from the derivation rule alone. */
import { describe, expect, it } from "vitest";
import { add, concat, globalAvgPool2d, slice, split } from "../src/autograd/index.ts";
import { analyzeStage, stageEquations } from "../src/gradflow/index.ts";
import { trace } from "../src/graph/index.ts";
import { csp, DenseBlock, Transition } from "../src/models/index.ts";
import { Conv2d, Flatten, Linear, Module, Sequential } from "../src/nn/index.ts";
import { randn } from "../src/tensor/create.ts";
import { Generator } from "../src/tensor/generator.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import {
  Chain,
  convNormRelu,
  cspAround,
  ProjectionBlock,
  ResidualBlock,
  SqueezeExcitation,
} from "./support/userStages.ts";

const images = () => randn([1, 8, 6, 5], { generator: new Generator(3) });

/** The equations of a module that is one stage of 8 input channels. */
function equationsOf(module: Module, paths = [""]) {
  return stageEquations(analyzeStage(trace(module, images()), { name: "stage", paths }));
}

function linesOf(module: Module): string[] {
  const { forward, update } = equationsOf(module);
  return [...forward, ...update];
}

describe("stages that the paper does not have", () => {
  it("numbers the layers of residual blocks, and the transition reads the sum", () => {
    const stage = cspAround((c) => ({
      links: [new ResidualBlock(c), new ResidualBlock(c)],
      outChannels: c,
    }));
    expect(linesOf(stage)).toEqual([
      "x_1 = w_1 * x_0''",
      "x_2 = w_2 * x_1",
      "x_3 = w_3 * (x_0'' + x_2)",
      "x_4 = w_4 * x_3",
      "x_T = w_T * (x_0'' + x_2 + x_4)",
      "x_U = w_U * [x_0', x_T]",
      "w_1' = f(w_1, g_0'')",
      "w_2' = f(w_2, g_1)",
      "w_3' = f(w_3, g_0'', g_2)",
      "w_4' = f(w_4, g_3)",
      "w_T' = f(w_T, g_0'', g_2, g_4)",
      "w_U' = f(w_U, g_0', g_T)",
    ]);
  });

  it("numbers a branch and the projection beside it", () => {
    const stage = cspAround((c) => ({
      links: [new ProjectionBlock(c, 6), new ProjectionBlock(6, 5)],
      outChannels: 5,
    }));
    expect(linesOf(stage).slice(0, 6)).toEqual([
      "x_1 = w_1 * x_0''",
      "x_2 = w_2 * x_0''",
      "x_3 = w_3 * (x_1 + x_2)",
      "x_4 = w_4 * (x_1 + x_2)",
      "x_T = w_T * (x_3 + x_4)",
      "x_U = w_U * [x_0', x_T]",
    ]);
  });

  it("numbers a plain chain: nothing in its graph tells its last layer from a transition", () => {
    const chain = (c: number) => ({ links: [convNormRelu(c, 5), convNormRelu(5, 6)], outChannels: 6 });
    expect(linesOf(cspAround(chain)).slice(0, 4)).toEqual([
      "x_1 = w_1 * x_0''",
      "x_2 = w_2 * x_1",
      "x_3 = w_3 * x_2",
      "x_U = w_U * [x_0', x_3]",
    ]);
    expect(linesOf(cspAround(chain, "first")).slice(0, 3)).toEqual([
      "x_1 = w_1 * x_0''",
      "x_2 = w_2 * x_1",
      "x_U = w_U * [x_0', x_2]",
    ]);
  });

  it("takes a 1x1 convolution into the next one only where the two are a module of their own", () => {
    const conv = (from: number, to: number, size: number) =>
      new Conv2d(from, to, size, { padding: (size - 1) / 2 });
    const bottleneck = new Sequential(conv(8, 2, 1), conv(2, 8, 3));
    const { forward, legend } = equationsOf(new Chain([conv(8, 8, 3), bottleneck], 8));
    expect(forward).toEqual(["x_1 = w_1 * x_0", "x_2 = w_2 * x_1"]);
    expect(legend.at(-1)?.meaning).toBe("links.1");
    const wide = new Chain([new Sequential(conv(8, 2, 3), conv(2, 8, 3))], 8);
    expect(equationsOf(wide).forward).toEqual(["x_1 = w_1 * x_0", "x_2 = w_2 * x_1"]);
    const perceptron = new Chain([new Flatten(), new Sequential(new Linear(240, 2), new Linear(2, 8))], 8);
    expect(equationsOf(perceptron).forward).toEqual(["x_1 = w_1 * x_0", "x_2 = w_2 * x_1"]);
    const darknet = new Sequential(conv(8, 2, 1), conv(2, 8, 3), conv(8, 2, 1), conv(2, 8, 3));
    const chain = equationsOf(new Chain([darknet], 8));
    expect(chain.forward).toEqual([
      "x_1 = w_1 * x_0",
      "x_2 = w_2 * x_1",
      "x_3 = w_3 * x_2",
      "x_4 = w_4 * x_3",
    ]);
    expect(chain.legend.slice(1).map(({ meaning }) => meaning)).toEqual(
      [0, 1, 2, 3].map((i) => `links.0.${i}`),
    );
  });

  it("writes a gate as a product", () => {
    const stage = cspAround((c) => ({
      links: [convNormRelu(c, 6), new SqueezeExcitation(6)],
      outChannels: 6,
    }));
    const lines = linesOf(stage);
    expect(lines.slice(0, 4)).toEqual([
      "x_1 = w_1 * x_0''",
      "x_2 = w_2 * x_1",
      "x_T = w_T * (x_1 ⊙ x_2)",
      "x_U = w_U * [x_0', x_T]",
    ]);
    expect(lines[6]).toBe("w_T' = f(w_T, g_1, g_2)");
    const ofSum = cspAround((c) => ({
      links: [new ResidualBlock(c), new SqueezeExcitation(c)],
      outChannels: c,
    }));
    const { forward, forwardLatex } = equationsOf(ofSum);
    expect(forward[3]).toBe("x_T = w_T * ((x_0'' + x_2) ⊙ x_3)");
    expect(forwardLatex[3]).toBe("x_{T} = w_{T} * ((x_{0''} + x_{2}) \\odot x_{3})");
  });

  it("knows the sides when the bypass has a layer too", () => {
    class TwoSided extends Module {
      readonly around = new Conv2d(4, 3, 1);
      readonly inner = new ResidualBlock(4);
      readonly fuse = new Conv2d(7, 8, 1);
      override forward(x: Tensor): Tensor {
        const [around, part] = split(x, 2, 1);
        return this.fuse.forward(concat([this.around.forward(around), this.inner.forward(part)], 1));
      }
    }
    const stage = analyzeStage(trace(new TwoSided(), images()), { name: "stage", paths: [""] });
    expect(stageEquations(stage).forward).toEqual([
      "x_1 = w_1 * x_0'",
      "x_2 = w_2 * x_0''",
      "x_3 = w_3 * x_2",
      "x_U = w_U * [x_1, x_0'' + x_3]",
    ]);
    expect(stage.layers.map(({ side }) => side)).toEqual(["bypass", "dense", "dense", "bypass"]);
  });

  it("names the parts of a part by their place in the whole", () => {
    class Nested extends Module {
      readonly inner = cspStageOf(4);
      override forward(x: Tensor): Tensor {
        const [around, part] = split(x, 2, 1);
        return concat([around, this.inner.forward(part)], 1);
      }
    }
    expect(linesOf(new Nested()).slice(0, 3)).toEqual([
      "x_1 = w_1 * x_0'''",
      "x_T = w_T * [x_0''', x_1]",
      "x_U = w_U * [x_0'', x_T]",
    ]);
  });

  it("keeps a 1x1 convolution apart whose output is also read or given out elsewhere", () => {
    class Both extends Module {
      readonly narrow = new Conv2d(8, 2, 1);
      readonly wide = new Conv2d(2, 8, 3, { padding: 1 });
      override forward(x: Tensor): Tensor {
        const narrow = this.narrow.forward(x);
        return concat([narrow, this.wide.forward(narrow)], 1);
      }
    }
    const layers = ["x_1 = w_1 * x_0", "x_2 = w_2 * x_1"];
    expect(equationsOf(new Chain([new Both()], 10)).forward).toEqual(layers);
    const read = new Chain([new Both(), new Conv2d(10, 4, 1)], 4);
    expect(equationsOf(read).forward).toEqual([...layers, "x_T = w_T * [x_1, x_2]"]);
  });

  it("counts parts of parts along the whole, in whatever order they are cut", () => {
    class Quarters extends Module {
      readonly convs = Array.from({ length: 5 }, () => new Conv2d(2, 2, 1));
      override forward(x: Tensor): Tensor {
        const [lower, upper] = split(x, 2, 1);
        const [third, fourth] = split(upper, 2, 1);
        const [first, second] = split(lower, 2, 1);
        const [a, b, c, d] = [fourth, second, third, first].map((part, i) => this.convs[i].forward(part));
        // Channels 4 to 6 are all of a, and none of the part and the sum before it.
        const [, , last] = split(concat([third, add(b, c), a], 1), 3, 1);
        return concat([b, c, d, this.convs[4].forward(last)], 1);
      }
    }
    expect(linesOf(new Quarters()).slice(0, 5)).toEqual([
      "x_1 = w_1 * x_0''''",
      "x_2 = w_2 * x_0''",
      "x_3 = w_3 * x_0'''",
      "x_4 = w_4 * x_0'",
      "x_5 = w_5 * x_1",
    ]);
  });

  it("gives parts that overlap, or are cut twice, names of their own", () => {
    class Overlapping extends Module {
      readonly convs = [2, 6, 2].map((channels) => new Conv2d(channels, 2, 1));
      override forward(x: Tensor): Tensor {
        const parts = [slice(x, 1, 2, 4), slice(x, 1, 0, 6), slice(x, 1, 2, 4)];
        return concat(
          parts.map((part, i) => this.convs[i].forward(part)),
          1,
        );
      }
    }
    expect(linesOf(new Overlapping()).slice(0, 3)).toEqual([
      "x_1 = w_1 * x_0''",
      "x_2 = w_2 * x_0'",
      "x_3 = w_3 * x_0'''",
    ]);
  });

  it("takes a map that is repeated over the image by a sum at its own size", () => {
    class Shifted extends Module {
      readonly shift = new Conv2d(8, 8, 1);
      readonly mix = new Conv2d(8, 4, 1);
      override forward(x: Tensor): Tensor {
        const sum = add(x, this.shift.forward(globalAvgPool2d(x)));
        return concat([sum, this.mix.forward(sum)], 1);
      }
    }
    const { maps } = analyzeStage(trace(new Shifted(), images()), { name: "stage", paths: [""] });
    expect(maps.map(({ name, shape }) => [name, shape])).toEqual([
      ["0", [1, 8, 6, 5]],
      ["1", [1, 8, 1, 1]],
      ["2", [1, 4, 6, 5]],
    ]);
  });

  it("reads a slice of a concatenation as the maps it covers", () => {
    class Resplit extends Module {
      readonly first = new Conv2d(8, 4, 1);
      readonly second = new Conv2d(8, 3, 3, { padding: 1 });
      readonly third = new Conv2d(6, 3, 3, { padding: 1 });
      override forward(x: Tensor): Tensor {
        const all = concat([x, this.first.forward(x)], 1);
        const [a, b] = split(all, [8, 4], 1);
        const [, c] = split(all, [6, 6], 1);
        return concat([this.second.forward(a), b, this.third.forward(c)], 1);
      }
    }
    expect(linesOf(new Resplit()).slice(0, 3)).toEqual([
      "x_1 = w_1 * x_0",
      "x_2 = w_2 * x_0",
      "x_3 = w_3 * [x_0, x_1]",
    ]);
  });

  it("refuses a stage that is not in the network, by name", () => {
    expect(() => equationsOf(new ResidualBlock(8), ["features.stage9"])).toThrow(
      'no op of the traced network lies in "features.stage9"',
    );
  });
});

function cspStageOf(inChannels: number) {
  return csp({
    inChannels,
    block: (channels) => new DenseBlock(1, channels, { growthRate: 3 }),
    transition: (from, to) => new Transition(from, to),
  });
}
