/** The equations and structure of the networks that the paper compares are those of its figures 2 and 3. */
import { describe, expect, it } from "vitest";
import { add, concat } from "../src/autograd/index.ts";
import {
  analyzeStage,
  type StageSelection,
  stageEquations,
  stageOutput,
  stageStructure,
} from "../src/gradflow/index.ts";
import { trace, withoutValues } from "../src/graph/index.ts";
import { createModel, type Fusion, type Network } from "../src/models/index.ts";
import { Conv2d, Module } from "../src/nn/index.ts";
import type { Tensor } from "../src/tensor/tensor.ts";

const build = (name: string, options?: object): Network => withoutValues(() => createModel(name, options));

const stageOf = (network: Network, selection: StageSelection = network.stages[0]) =>
  analyzeStage(trace(network, [1, 3, 64, 64]), selection);

const linesOf = (network: Network): string[] => {
  const { forward, update } = stageEquations(stageOf(network));
  return [...forward, ...update];
};

describe("two-way dense layers", () => {
  it("are two layers each, whose outputs both join what the next ones read", () => {
    const network = build("peleenet");
    expect(linesOf(network)).toEqual([
      "x_1 = w_1 * x_0",
      "x_2 = w_2 * x_0",
      "x_3 = w_3 * [x_0, x_1, x_2]",
      "x_4 = w_4 * [x_0, x_1, x_2]",
      "x_5 = w_5 * [x_0, x_1, x_2, x_3, x_4]",
      "x_6 = w_6 * [x_0, x_1, x_2, x_3, x_4]",
      "x_T = w_T * [x_0, x_1, x_2, x_3, x_4, x_5, x_6]",
      "w_1' = f(w_1, g_0)",
      "w_2' = f(w_2, g_0)",
      "w_3' = f(w_3, g_0, g_1, g_2)",
      "w_4' = f(w_4, g_0, g_1, g_2)",
      "w_5' = f(w_5, g_0, g_1, g_2, g_3, g_4)",
      "w_6' = f(w_6, g_0, g_1, g_2, g_3, g_4)",
      "w_T' = f(w_T, g_0, g_1, g_2, g_3, g_4, g_5, g_6)",
    ]);
    expect(stageEquations(stageOf(network)).legend[2].meaning).toBe(
      "features.denseblock1.denselayer1: branch2a.conv, branch2b.conv, branch2c.conv",
    );
  });

  it("read offsets 1, 2, 4, … in the sparse form", () => {
    const sparse = build("speleenet");
    const stage = stageOf(sparse, sparse.stages[1]);
    const sources = stage.layers.map((layer) => layer.sources.map((map) => stage.maps[map].name).join(" "));
    // A two-way layer's two maps are one entry of the list; x_0 is another.
    expect(sources.slice(0, 8)).toEqual([
      "0",
      "0",
      "0 1 2",
      "0 1 2",
      "1 2 3 4",
      "1 2 3 4",
      "0 3 4 5 6",
      "0 3 4 5 6",
    ]);
  });
});

describe("stages parted by two 1x1 convolutions", () => {
  it("CSPPeleeNet: equations (3) and (4) behind the two convolutions that stand for the slices", () => {
    const stage = stageOf(build("csp-peleenet"));
    expect(linesOf(build("csp-peleenet"))).toEqual([
      "x_0' = w_A * x_0",
      "x_0'' = w_B * x_0",
      "x_1 = w_1 * x_0''",
      "x_2 = w_2 * x_0''",
      "x_3 = w_3 * [x_0'', x_1, x_2]",
      "x_4 = w_4 * [x_0'', x_1, x_2]",
      "x_T = w_T * [x_0'', x_1, x_2, x_3, x_4]",
      "x_U = w_U * [x_0', x_T]",
      "w_A' = f(w_A, g_0)",
      "w_B' = f(w_B, g_0)",
      "w_1' = f(w_1, g_0'')",
      "w_2' = f(w_2, g_0'')",
      "w_3' = f(w_3, g_0'', g_1, g_2)",
      "w_4' = f(w_4, g_0'', g_1, g_2)",
      "w_T' = f(w_T, g_0'', g_1, g_2, g_3, g_4)",
      "w_U' = f(w_U, g_0', g_T)",
    ]);
    expect(stage.weights.map(({ name, side }) => [name, side])).toEqual([
      ["A", "main"],
      ["B", "main"],
      ...["1", "2", "3", "4", "T"].map((name) => [name, "dense"]),
      ["U", "bypass"],
    ]);
    const sideOf = (name: string) => stage.maps.find((map) => map.name === name)?.side;
    expect(["0", "0'", "0''", "T", "U"].map(sideOf)).toEqual(["main", "bypass", "dense", "dense", "bypass"]);
  });

  it.each([
    ["both", 0],
    ["first", 12],
    ["last", 0],
  ] as const)(
    "fusion %s: %i weights of the dense side share a gradient with the other",
    (fusion: Fusion, shared) => {
      const network = build("csp-peleenet", { fusion });
      expect(stageStructure(stageOf(network, network.stages[3])).duplicatesAcross).toBe(shared);
    },
  );

  it("CSPResNeXt: the transition reads the residual sums, and U joins it with the side that went around", () => {
    const network = build("csp-resnext-50");
    expect(linesOf(network)).toEqual([
      "x_0' = w_A * x_0",
      "x_0'' = w_B * x_0",
      "x_1 = w_1 * x_0''",
      "x_2 = w_2 * x_1",
      "x_3 = w_3 * x_2",
      "x_4 = w_4 * (x_3 + x_0'')",
      "x_5 = w_5 * x_4",
      "x_6 = w_6 * x_5",
      "x_7 = w_7 * (x_6 + x_3 + x_0'')",
      "x_8 = w_8 * x_7",
      "x_9 = w_9 * x_8",
      "x_T = w_T * (x_9 + x_6 + x_3 + x_0'')",
      "x_U = w_U * [x_T, x_0']",
      "w_A' = f(w_A, g_0)",
      "w_B' = f(w_B, g_0)",
      "w_1' = f(w_1, g_0'')",
      "w_2' = f(w_2, g_1)",
      "w_3' = f(w_3, g_2)",
      "w_4' = f(w_4, g_0'', g_3)",
      "w_5' = f(w_5, g_4)",
      "w_6' = f(w_6, g_5)",
      "w_7' = f(w_7, g_0'', g_3, g_6)",
      "w_8' = f(w_8, g_7)",
      "w_9' = f(w_9, g_8)",
      "w_T' = f(w_T, g_0'', g_3, g_6, g_9)",
      "w_U' = f(w_U, g_0', g_T)",
    ]);
    expect(stageStructure(stageOf(network)).duplicatesAcross).toBe(0);
  });
});

describe("stages that look as if two 1x1 convolutions parted them", () => {
  class Branches extends Module {
    readonly left = new Conv2d(8, 4, 1);
    readonly right = new Conv2d(8, 4, 1);
    readonly deep = new Conv2d(4, 4, 3, { padding: 1 });
    readonly fuse = new Conv2d(8, 4, 1);
    readonly kind: "alike" | "leaving" | "given out" | "summed" | "parted";
    constructor(kind: "alike" | "leaving" | "given out" | "summed" | "parted") {
      super();
      this.kind = kind;
      if (kind === "leaving") this.fuse = new Conv2d(16, 4, 1);
      if (kind === "summed") this.fuse = new Conv2d(4, 4, 1);
    }
    override forward(x: Tensor): Tensor {
      const [left, right] = [this.left.forward(x), this.right.forward(x)];
      const block = this.kind === "alike" ? right : this.deep.forward(right);
      if (this.kind === "given out") return concat([x, left, block], 1);
      if (this.kind === "summed") return this.fuse.forward(add(left, block));
      return this.fuse.forward(concat(this.kind === "leaving" ? [x, left, block] : [left, block], 1));
    }
  }
  const namesOf = (kind: ConstructorParameters<typeof Branches>[0]) =>
    analyzeStage(trace(new Branches(kind), [1, 8, 2, 2]), { name: kind, paths: [""] }).weights.map(
      ({ name }) => name,
    );

  it("have one side: branches of equal depth, an input that is read besides, sides that are added", () => {
    expect(namesOf("parted")).toEqual(["A", "B", "1", "U"]);
    expect(namesOf("alike")).toEqual(["1", "2", "T"]);
    expect(namesOf("leaving")).toEqual(["1", "2", "3", "T"]);
    expect(namesOf("given out")).toEqual(["1", "2", "3"]);
    expect(namesOf("summed")).toEqual(["1", "2", "3", "T"]);
  });
});

describe("a plain ResNet", () => {
  it("adds what its blocks make to what they read", () => {
    const network = build("resnet-50");
    const [, second] = network.stages;
    const stage = stageOf(network, second);
    expect(stageEquations(stage).forward.slice(0, 8)).toEqual([
      "x_1 = w_1 * x_0",
      "x_2 = w_2 * x_1",
      "x_3 = w_3 * x_2",
      "x_4 = w_4 * x_0",
      "x_5 = w_5 * (x_3 + x_4)",
      "x_6 = w_6 * x_5",
      "x_7 = w_7 * x_6",
      "x_8 = w_8 * (x_7 + x_3 + x_4)",
    ]);
    expect(stageOutput(stage)?.text).toBe("x_13 + x_10 + x_7 + x_3 + x_4");
    // 2 from the block with the projection, then each of three blocks can be gone through or around.
    const { paths, duplicatesAcross } = stageStructure(stage);
    expect(paths[0]).toMatchObject({ count: 2n * 2n ** 3n, shortest: 1, longest: 12 });
    expect(duplicatesAcross).toBe(0);
  });
});
