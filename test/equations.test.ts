/** The derived equations are the paper's (1) to (4), and say the right thing of stages the paper never saw. */
import { describe, expect, it } from "vitest";
import { crossEntropy, globalAvgPool2d, onOp, reshape } from "../src/autograd/index.ts";
import { analyzeStage, type StageSelection, stageEquations, stageOutput } from "../src/gradflow/index.ts";
import { GraphBuilder, trace } from "../src/graph/index.ts";
import {
  csp,
  cspDenseNet,
  DenseBlock,
  type DenseNet,
  densenet,
  type Fusion,
  Transition,
} from "../src/models/index.ts";
import type { Module } from "../src/nn/index.ts";
import { randn, tensor } from "../src/tensor/create.ts";
import { Generator } from "../src/tensor/generator.ts";
import { cspAround, PostActivationDense } from "./support/userStages.ts";

const images = (shape: readonly number[]) => randn(shape, { generator: new Generator(3) });
const whole = (name = "stage"): StageSelection => ({ name, paths: [""] });

function equationsOf(module: Module, shape: readonly number[], selection = whole()) {
  return stageEquations(analyzeStage(trace(module, images(shape)), selection));
}

/** Forward and update equations of a module with 8 input channels. */
function linesOf(module: Module): string[] {
  const { forward, update } = equationsOf(module, [1, 8, 6, 5]);
  return [...forward, ...update];
}

/** The equations of the graph that one training step leaves behind, as the recorder sees it. */
function trainedEquations(model: DenseNet, selection: StageSelection) {
  const batch = images([3, 1, 12, 12]);
  const builder = new GraphBuilder(model.namedParameters());
  const inputs = [builder.idOf(batch)];
  const stop = onOp((event) => builder.add(event));
  crossEntropy(model.train().forward(batch), tensor([0, 1, 2], { dtype: "i32" }));
  stop();
  return stageEquations(analyzeStage({ graph: builder.graph(), inputs, output: null }, selection));
}

const dense = (k: number) => new DenseBlock(k, 8, { growthRate: 3 });

function cspStage(k: number, fusion: Fusion) {
  return csp(
    {
      inChannels: 8,
      block: (channels) => new DenseBlock(k, channels, { growthRate: 3 }),
      transition: (inChannels, outChannels) => new Transition(inChannels, outChannels),
    },
    { fusion },
  );
}

describe("the paper's stages, k = 4", () => {
  it("derives equations (1) and (2) from a dense block", () => {
    const { forward, update, forwardLatex, updateLatex } = equationsOf(dense(4), [1, 8, 6, 5]);
    expect(forward).toEqual([
      "x_1 = w_1 * x_0",
      "x_2 = w_2 * [x_0, x_1]",
      "x_3 = w_3 * [x_0, x_1, x_2]",
      "x_4 = w_4 * [x_0, x_1, x_2, x_3]",
    ]);
    expect(update).toEqual([
      "w_1' = f(w_1, g_0)",
      "w_2' = f(w_2, g_0, g_1)",
      "w_3' = f(w_3, g_0, g_1, g_2)",
      "w_4' = f(w_4, g_0, g_1, g_2, g_3)",
    ]);
    expect(forwardLatex).toEqual([
      "x_{1} = w_{1} * x_{0}",
      "x_{2} = w_{2} * [x_{0}, x_{1}]",
      "x_{3} = w_{3} * [x_{0}, x_{1}, x_{2}]",
      "x_{4} = w_{4} * [x_{0}, x_{1}, x_{2}, x_{3}]",
    ]);
    expect(updateLatex).toEqual([
      "w_{1}' = f(w_{1}, g_{0})",
      "w_{2}' = f(w_{2}, g_{0}, g_{1})",
      "w_{3}' = f(w_{3}, g_{0}, g_{1}, g_{2})",
      "w_{4}' = f(w_{4}, g_{0}, g_{1}, g_{2}, g_{3})",
    ]);
  });

  it("derives equations (3) and (4) from a partial stage", () => {
    const { forward, update, forwardLatex, updateLatex } = equationsOf(cspStage(4, "both"), [1, 8, 6, 5]);
    expect(forward).toEqual([
      "x_1 = w_1 * x_0''",
      "x_2 = w_2 * [x_0'', x_1]",
      "x_3 = w_3 * [x_0'', x_1, x_2]",
      "x_4 = w_4 * [x_0'', x_1, x_2, x_3]",
      "x_T = w_T * [x_0'', x_1, x_2, x_3, x_4]",
      "x_U = w_U * [x_0', x_T]",
    ]);
    expect(update).toEqual([
      "w_1' = f(w_1, g_0'')",
      "w_2' = f(w_2, g_0'', g_1)",
      "w_3' = f(w_3, g_0'', g_1, g_2)",
      "w_4' = f(w_4, g_0'', g_1, g_2, g_3)",
      "w_T' = f(w_T, g_0'', g_1, g_2, g_3, g_4)",
      "w_U' = f(w_U, g_0', g_T)",
    ]);
    expect(forwardLatex.at(-2)).toBe("x_{T} = w_{T} * [x_{0''}, x_{1}, x_{2}, x_{3}, x_{4}]");
    expect(forwardLatex.at(-1)).toBe("x_{U} = w_{U} * [x_{0'}, x_{T}]");
    expect(updateLatex.at(-2)).toBe("w_{T}' = f(w_{T}, g_{0''}, g_{1}, g_{2}, g_{3}, g_{4})");
    expect(updateLatex.at(-1)).toBe("w_{U}' = f(w_{U}, g_{0'}, g_{T})");
  });

  it("shows the single transition of fusion first reading both sides", () => {
    const { forward, update } = equationsOf(cspStage(4, "first"), [1, 8, 6, 5]);
    expect(forward.slice(4)).toEqual(["x_U = w_U * [x_0', x_0'', x_1, x_2, x_3, x_4]"]);
    expect(update.slice(4)).toEqual(["w_U' = f(w_U, g_0', g_0'', g_1, g_2, g_3, g_4)"]);
  });

  it("shows fusion last ending in the dense side's transition", () => {
    const { forward, update } = equationsOf(cspStage(4, "last"), [1, 8, 6, 5]);
    expect(forward.slice(4)).toEqual(["x_T = w_T * [x_0'', x_1, x_2, x_3, x_4]"]);
    expect(update.slice(4)).toEqual(["w_T' = f(w_T, g_0'', g_1, g_2, g_3, g_4)"]);
  });

  it("writes long lists with dots where it is asked to, as the paper does", () => {
    const stageOf = (module: Module) => analyzeStage(trace(module, images([1, 8, 6, 5])), whole());
    const { forward, update, forwardLatex, updateLatex } = stageEquations(stageOf(cspStage(12, "both")), {
      abbreviate: true,
    });
    // Three are named, four are a run; x_0 and its parts stand before it.
    expect(forward[3]).toBe("x_4 = w_4 * [x_0'', x_1, x_2, x_3]");
    expect(forward[4]).toBe("x_5 = w_5 * [x_0'', x_1, …, x_4]");
    expect(forward.slice(-2)).toEqual(["x_T = w_T * [x_0'', x_1, …, x_12]", "x_U = w_U * [x_0', x_T]"]);
    expect(update.slice(-2)).toEqual(["w_T' = f(w_T, g_0'', g_1, …, g_12)", "w_U' = f(w_U, g_0', g_T)"]);
    expect(forwardLatex[11]).toBe("x_{12} = w_{12} * [x_{0''}, x_{1}, \\ldots, x_{11}]");
    expect(updateLatex[11]).toBe("w_{12}' = f(w_{12}, g_{0''}, g_{1}, \\ldots, g_{11})");
    const block = stageOf(dense(6));
    expect(stageEquations(block, { abbreviate: true }).forward[5]).toBe("x_6 = w_6 * [x_0, x_1, …, x_5]");
    expect(stageOutput(block, { abbreviate: true })?.text).toBe("[x_0, x_1, …, x_6]");
    expect(stageOutput(block)?.text).toBe("[x_0, x_1, x_2, x_3, x_4, x_5, x_6]");
  });

  it("says what every symbol stands for", () => {
    const { legend } = equationsOf(cspStage(2, "both"), [1, 8, 6, 5]);
    expect(legend).toEqual([
      { symbol: "x_0'", meaning: "part 1 of the input of stage, 4 channels" },
      { symbol: "x_0''", meaning: "part 2 of the input of stage, 4 channels" },
      { symbol: "w_1", meaning: "block.denselayer1" },
      { symbol: "w_2", meaning: "block.denselayer2" },
      { symbol: "w_T", meaning: "transitionT.conv" },
      { symbol: "w_U", meaning: "transitionU.conv" },
    ]);
  });
});

/** What equations (1) to (4) say for any k, written with loops instead of dots. */
function expected(k: number, kind: "dense" | "dense and transition" | Fusion): string[] {
  const input = kind.startsWith("dense") ? "0" : "0''";
  const layers: [name: string, reads: string[]][] = [];
  const read = [input];
  for (let i = 1; i <= k; i++) {
    layers.push([String(i), [...read]]);
    read.push(String(i));
  }
  if (kind !== "dense" && kind !== "first") layers.push(["T", read]);
  if (kind === "both") layers.push(["U", ["0'", "T"]]);
  if (kind === "first") layers.push(["U", ["0'", ...read]]);
  const list = (reads: string[]) =>
    reads.length === 1 ? `x_${reads[0]}` : `[${reads.map((name) => `x_${name}`).join(", ")}]`;
  return [
    ...layers.map(([name, reads]) => `x_${name} = w_${name} * ${list(reads)}`),
    ...layers.map(([name, reads]) => `w_${name}' = f(w_${name}, ${reads.map((r) => `g_${r}`).join(", ")})`),
  ];
}

describe.each([1, 2, 3, 4, 5, 6])("whole networks, k = %i", (k) => {
  const sizes = {
    blocks: [k, k],
    growthRate: 2,
    bottleneckWidth: 2,
    stem: "small",
    inChannels: 1,
    classes: 3,
  } as const;

  it("derives a DenseNet's stages, traced and while it trains", () => {
    const network = densenet({ ...sizes, dropout: 0.2 });
    const [first, last] = network.stages;
    for (const [selection, kind] of [
      [first, "dense and transition"],
      [last, "dense"],
    ] as const) {
      const traced = equationsOf(network, [1, 1, 12, 12], selection);
      expect([...traced.forward, ...traced.update]).toEqual(expected(k, kind));
      expect(trainedEquations(network, selection)).toEqual(traced);
    }
  });

  it.each(["both", "first", "last"] as const)("derives a CSPDenseNet's stages, fusion %s", (fusion) => {
    const network = cspDenseNet({ ...sizes, fusion });
    for (const selection of network.stages) {
      const traced = equationsOf(network, [1, 1, 12, 12], selection);
      expect([...traced.forward, ...traced.update]).toEqual(expected(k, fusion));
      expect(trainedEquations(network, selection)).toEqual(traced);
    }
  });

  it("derives dense layers of one convolution, without a bottleneck, whose norm and activation follow", () => {
    const plain = new PostActivationDense(8, 3, k);
    expect(linesOf(plain)).toEqual(expected(k, "dense"));
    const stage = cspAround((c) => ({ links: [new PostActivationDense(c, 3, k)], outChannels: c + 3 * k }));
    expect(linesOf(stage)).toEqual(expected(k, "both"));
  });
});

it("gives a block on its own the same equations while it trains", () => {
  const block = dense(3).train();
  const batch = images([2, 8, 6, 5]);
  const builder = new GraphBuilder(block.namedParameters());
  const inputs = [builder.idOf(batch)];
  const stop = onOp((event) => builder.add(event));
  const out = globalAvgPool2d(block.forward(batch));
  crossEntropy(reshape(out, [2, out.shape[1]]), tensor([0, 1], { dtype: "i32" }));
  stop();
  const graph = builder.graph();
  const output = graph.nodes[graph.nodes.length - 1].output;
  expect(stageEquations(analyzeStage({ graph, inputs, output }, whole())).forward).toEqual(
    equationsOf(block, [1, 8, 6, 5]).forward,
  );
});
