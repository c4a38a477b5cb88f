/** Equations and counts where weights are not one to a layer: used again, in loops, in functional code, or not learnt. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  add,
  concat,
  conv2d,
  conv2dRelu,
  matmul,
  mul,
  normReluConv2d,
  relu,
  slice,
  split,
  sub,
  transpose,
} from "../src/autograd/index.ts";
import {
  analyzeStage,
  GradientRecorder,
  stageEquations,
  stageOutput,
  stageStructure,
} from "../src/gradflow/index.ts";
import { trace } from "../src/graph/index.ts";
import {
  BatchNorm2d,
  Conv2d,
  Dropout,
  foldForInference,
  Module,
  Parameter,
  Sequential,
} from "../src/nn/index.ts";
import { ones, randn } from "../src/tensor/create.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { bruteForce } from "./support/bruteForce.ts";
import { PostActivationDense } from "./support/userStages.ts";

const stageOf = (module: Module, shape: readonly number[] = [2, 8, 6, 5], paths = [""]) =>
  analyzeStage(trace(module, shape), { name: "stage", paths });

const equationsOf = (module: Module, shape?: readonly number[]) => {
  const { forward, update, legend } = stageEquations(stageOf(module, shape));
  return { lines: [...forward, ...update], legend: legend.slice(1).map(({ meaning }) => meaning) };
};

/** A layer, and the layer that reads what it made, by one weight. */
class Loop extends Module {
  readonly conv = new Conv2d(8, 8, 3, { padding: 1 });
  readonly last = new Conv2d(8, 4, 1);
  readonly times: number;
  constructor(times: number) {
    super();
    this.times = times;
  }
  override forward(x: Tensor): Tensor {
    let y = x;
    for (let i = 0; i < this.times; i++) y = relu(this.conv.forward(y));
    return this.last.forward(y);
  }
}

describe("a weight that is used again", () => {
  it("has one update equation with the gradients of everything that any of its uses reads", () => {
    expect(equationsOf(new Loop(3))).toEqual({
      lines: [
        "x_1 = w_1 * x_0",
        "x_2 = w_1 * x_1",
        "x_3 = w_1 * x_2",
        "x_4 = w_4 * x_3",
        "w_1' = f(w_1, g_0, g_1, g_2)",
        "w_4' = f(w_4, g_3)",
      ],
      legend: ["conv, used 3 times: x_1, x_2, x_3", "last"],
    });
  });

  it("counts once in the reuse of a gradient, however often it reads the map; its pieces and paths count each", () => {
    class Twice extends Module {
      readonly shared = new Conv2d(8, 8, 1);
      readonly other = new Conv2d(8, 8, 1);
      override forward(x: Tensor): Tensor {
        const first = this.shared.forward(x);
        return add(this.shared.forward(relu(x)), add(this.shared.forward(first), this.other.forward(x)));
      }
    }
    const stage = stageOf(new Twice());
    const { reuse, duplicates, duplicatesByChannels, duplicateBytes, paths } = stageStructure(stage);
    expect(reuse.map(({ map, weights, layers }) => [stage.maps[map].name, weights, layers])).toEqual([
      ["0", [0, 1], [0, 1, 3]],
      ["1", [0], [2]],
      ["2", [], []],
      ["3", [], []],
      ["4", [], []],
    ]);
    expect([duplicates, duplicatesByChannels]).toEqual([1, 8]);
    // Three layers read x_0, so two pieces are added to the first.
    expect(duplicateBytes).toBe(2 * 4 * 8 * 6 * 5);
    expect(paths[0]).toMatchObject({ count: 3n, shortest: 1, longest: 2 });
  });

  it("joins both sides of a stage when both use it", () => {
    class Tied extends Module {
      readonly tied = new Conv2d(4, 4, 3, { padding: 1 });
      readonly inner = new Conv2d(4, 4, 1);
      readonly fuse = new Conv2d(8, 8, 1);
      override forward(x: Tensor): Tensor {
        const [around, part] = split(x, 2, 1);
        const deep = this.inner.forward(this.tied.forward(part));
        return this.fuse.forward(concat([this.tied.forward(around), deep], 1));
      }
    }
    const stage = stageOf(new Tied());
    expect(stageEquations(stage).update).toEqual([
      "w_1' = f(w_1, g_0', g_0'')",
      "w_2' = f(w_2, g_1)",
      "w_U' = f(w_U, g_2, g_3)",
    ]);
    expect(stage.weights.map(({ side }) => side)).toEqual(["bypass", "dense", "bypass"]);
  });

  it("is one layer with its bottleneck wherever the module is called, and two where half of it is used elsewhere", () => {
    const bottleneck = () => new Sequential(new Conv2d(8, 2, 1), new Conv2d(2, 8, 3, { padding: 1 }));
    class Called extends Module {
      readonly block = bottleneck();
      override forward(x: Tensor): Tensor {
        return this.block.forward(add(x, this.block.forward(x)));
      }
    }
    expect(equationsOf(new Called())).toEqual({
      lines: ["x_1 = w_1 * x_0", "x_T = w_1 * (x_0 + x_1)", "w_1' = f(w_1, g_0, g_1)"],
      legend: ["block, used 2 times: x_1, x_T"],
    });
    class Half extends Module {
      readonly block = bottleneck();
      override forward(x: Tensor): Tensor {
        const [narrow] = this.block.namedChildren().values();
        return concat([this.block.forward(x), narrow.forward(x)], 1);
      }
    }
    expect(equationsOf(new Half()).lines).toEqual([
      "x_1 = w_1 * x_0",
      "x_2 = w_2 * x_1",
      "x_3 = w_1 * x_0",
      "w_1' = f(w_1, g_0)",
      "w_2' = f(w_2, g_1)",
    ]);
  });
});

it("keeps bottlenecks apart that have half of their weights in common", () => {
  class Tied extends Module {
    readonly one = new Sequential(new Conv2d(8, 2, 1), new Conv2d(2, 8, 3, { padding: 1 }));
    readonly two = new Sequential(new Conv2d(8, 2, 1), new Conv2d(2, 8, 3, { padding: 1 }));
    constructor(tie: boolean) {
      super();
      const [first, second] = [this.one, this.two].map((block) => [...block.namedChildren().values()][0]);
      if (tie && first instanceof Conv2d && second instanceof Conv2d) second.weight = first.weight;
    }
    override forward(x: Tensor): Tensor {
      return this.two.forward(this.one.forward(x));
    }
  }
  expect(equationsOf(new Tied(false)).lines.slice(0, 2)).toEqual(["x_1 = w_1 * x_0", "x_2 = w_2 * x_1"]);
  expect(equationsOf(new Tied(true)).lines).toEqual([
    "x_1 = w_1 * x_0",
    "x_2 = w_2 * x_1",
    "x_3 = w_1 * x_2",
    "x_4 = w_4 * x_3",
    "w_1' = f(w_1, g_0, g_2)",
    "w_2' = f(w_2, g_1)",
    "w_4' = f(w_4, g_3)",
  ]);
});

it("takes up to three convolutions that begin with a 1x1 one for a layer, and only where all in the module are such", () => {
  const wide = () => new Conv2d(8, 8, 3, { padding: 1 });
  class Chain extends Module {
    readonly body: Sequential;
    constructor(larger: number) {
      super();
      this.body = new Sequential(new Conv2d(8, 8, 1), ...Array.from({ length: larger }, wide));
    }
    override forward(x: Tensor): Tensor {
      return this.body.forward(x);
    }
  }
  expect([1, 2, 3].map((larger) => stageOf(new Chain(larger)).layers.length)).toEqual([1, 1, 4]);

  class InTurn extends Module {
    readonly a = new Sequential(new Conv2d(8, 8, 1), wide());
    readonly b = new Sequential(new Conv2d(8, 8, 1), wide());
    override forward(x: Tensor): Tensor {
      const [a1, a2, b1, b2] = [this.a, this.b].flatMap((block) => [...block.namedChildren().values()]);
      const first = add(x, a2.forward(a1.forward(x)));
      return b2.forward(b1.forward(first));
    }
  }
  /** The same convolutions as children of one module, which calls one pair after the other. */
  class Flat extends Module {
    readonly inner: Module;
    constructor() {
      super();
      const turn = new InTurn();
      class Pairs extends Module {
        readonly convs = [turn.a, turn.b].flatMap((block) => [...block.namedChildren().values()]);
        override forward(x: Tensor): Tensor {
          const [a1, a2, b1, b2] = this.convs;
          return b2.forward(b1.forward(add(x, a2.forward(a1.forward(x)))));
        }
      }
      this.inner = new Pairs();
    }
    override forward(x: Tensor): Tensor {
      return this.inner.forward(x);
    }
  }
  expect(stageOf(new InTurn()).layers).toHaveLength(2);
  expect(stageOf(new Flat()).layers).toHaveLength(4);
});

interface Gene {
  readonly op: "conv" | "concat" | "sum" | "gate";
  readonly reads: readonly number[];
  /** Which of the convolutions that fit is used: an old one, or, the last choice, a new one. */
  readonly choice: number;
}

/** A random network whose convolutions, 3x3 to 2 channels, may be used again wherever their width fits. */
class Reusing extends Module {
  readonly convs: Conv2d[] = [];
  readonly steps: { op: Gene["op"]; reads: number[]; conv: number }[] = [];
  constructor(genes: readonly Gene[]) {
    super();
    const widths = [2];
    for (const { op, reads, choice } of genes) {
      const chosen = reads.map((n) => n % widths.length);
      const width = widths[chosen[0]];
      const same = chosen.filter((i) => widths[i] === width);
      const fitting = this.convs.flatMap(({ inChannels }, i) => (inChannels === width ? [i] : []));
      let conv = -1;
      if (op === "conv") {
        const pick = choice % (fitting.length + 1);
        conv = fitting[pick] ?? this.convs.push(new Conv2d(width, 2, 3, { padding: 1 })) - 1;
      }
      const used = op === "concat" ? chosen : op === "conv" ? [chosen[0]] : same;
      this.steps.push({ op, reads: used, conv });
      widths.push(op === "conv" ? 2 : op === "concat" ? used.reduce((sum, i) => sum + widths[i], 0) : width);
    }
  }
  override forward(x: Tensor): Tensor {
    const values = [x];
    for (const { op, reads, conv } of this.steps) {
      const read = reads.map((i) => values[i]);
      if (op === "conv") values.push(this.convs[conv].forward(read[0]));
      else if (op === "concat") values.push(concat(read, 1));
      else values.push(read.reduce((a, b) => (op === "sum" ? add(a, b) : mul(a, b))));
    }
    return concat(values, 1);
  }
}

it("counts random networks that use their weights again as walking back from every use does", () => {
  const genes: fc.Arbitrary<Gene[]> = fc.array(
    fc.record({
      op: fc.constantFrom<Gene["op"]>("conv", "conv", "conv", "concat", "sum", "gate"),
      reads: fc.array(fc.nat(999), { minLength: 1, maxLength: 3 }),
      choice: fc.nat(99),
    }),
    { minLength: 2, maxLength: 10 },
  );
  let shared = 0;
  fc.assert(
    fc.property(genes, (list) => {
      const traced = trace(new Reusing(list), [1, 2, 3, 2]);
      const { graph, inputs, output } = traced;
      const convs = graph.nodes.filter(({ op }) => op === "conv2d");
      const named = new Map([
        [inputs[0], "input"],
        ...convs.map((node) => [node.output, `map ${node.id}`] as const),
      ]);
      /** The maps behind a value, as far as convolutions. */
      const behind = (value: number): string[] => {
        const name = named.get(value);
        const { producer } = graph.values[value];
        return name ? [name] : producer === null ? [] : graph.nodes[producer].inputs.flatMap(behind);
      };
      const expected = new Map<string, Set<string>>();
      for (const { modulePath, inputs: read } of convs) {
        const known = expected.get(modulePath) ?? new Set();
        expected.set(modulePath, new Set([...known, ...behind(read[0])]));
      }
      const walked = bruteForce({
        graph,
        contains: () => true,
        end: output,
        maps: named,
        layerOf: ({ op, id }) => (op === "conv2d" ? `layer ${id}` : null),
      });

      const stage = analyzeStage(traced, { name: "random", paths: [""] });
      const nameOf = (map: number) => {
        const { layer } = stage.maps[map];
        return layer === null ? "input" : `map ${stage.layers[layer].node}`;
      };
      const found = stage.weights.map(
        ({ modulePath, sources }) => [modulePath, new Set(sources.map(nameOf))] as const,
      );
      expect(new Map(found)).toEqual(expected);
      const { reuse, duplicates, duplicatesByChannels, paths } = stageStructure(stage);
      for (const { map, weights, layers } of reuse) {
        const users = [...expected.values()].filter((sources) => sources.has(nameOf(map)));
        expect(weights).toHaveLength(users.length);
        const stops = walked.stops.get(nameOf(map))?.filter((stop) => stop !== "end");
        expect(layers.map((layer) => `layer ${stage.layers[layer].node}`).sort()).toEqual(stops);
      }
      const again = (name: string) => {
        const users = [...expected.values()].filter((sources) => sources.has(name)).length;
        return Math.max(0, users - 1);
      };
      const total = [...named.values()].reduce((sum, name) => sum + again(name), 0);
      expect([duplicates, duplicatesByChannels]).toEqual([total, 2 * total]);
      for (const { map, count } of paths)
        expect(count).toBe(BigInt(walked.paths.get(nameOf(map))?.distinct ?? -1));
      shared += stage.layers.length - stage.weights.length;
    }),
    { numRuns: 200 },
  );
  expect(shared).toBeGreaterThan(100);
});

describe("functional code", () => {
  it("is told apart by its parameters, whatever it does to them before it uses them", () => {
    class Functional extends Module {
      readonly first = new Parameter(randn([4, 8, 3, 3]));
      readonly second = new Parameter(randn([4, 12, 1, 1]));
      readonly scale = new Parameter(ones([4, 1, 1, 1]));
      override forward(x: Tensor): Tensor {
        const y = relu(conv2d(x, mul(this.first, this.scale), { padding: 1 }));
        return conv2d(concat([x, y], 1), this.second);
      }
    }
    expect(equationsOf(new Functional())).toEqual({
      lines: ["x_1 = w_1 * x_0", "x_T = w_T * [x_0, x_1]", "w_1' = f(w_1, g_0)", "w_T' = f(w_T, g_0, g_1)"],
      legend: ["the module itself: first, scale", "the module itself: second"],
    });
  });

  it("knows weights that belong to no module, and products with the weight on the left", () => {
    const loose = randn([6, 6]);
    loose.requiresGrad = true;
    class Product extends Module {
      readonly left = new Parameter(randn([4, 6]));
      override forward(x: Tensor): Tensor {
        return matmul(this.left, matmul(loose, transpose(x)));
      }
    }
    expect(equationsOf(new Product(), [5, 6])).toEqual({
      lines: ["x_1 = w_1 * x_0", "x_2 = w_2 * x_1", "w_1' = f(w_1, g_0)", "w_2' = f(w_2, g_1)"],
      legend: ["the module itself: (no parameter)", "the module itself: left"],
    });
  });

  it("finds the weights of fused ops where they are", () => {
    class Fused extends Module {
      readonly norm = new BatchNorm2d(8);
      readonly first = new Parameter(randn([4, 8, 3, 3]));
      readonly second = new Parameter(randn([2, 4, 1, 1]));
      override forward(x: Tensor): Tensor {
        const { weight, bias, eps: epsilon } = this.norm;
        const y = normReluConv2d(x, this.first, { weight, bias, epsilon, padding: 1 });
        return conv2dRelu(y, this.second);
      }
    }
    const stage = stageOf(new Fused());
    expect(stageEquations(stage).update).toEqual(["w_1' = f(w_1, g_0)", "w_2' = f(w_2, g_1)"]);
    expect(stage.weights.map(({ parameters }) => parameters)).toEqual([["first"], ["second"]]);
  });

  it("takes a fixed filter for what it is, like a pooling", () => {
    class Blurred extends Module {
      readonly conv = new Conv2d(8, 4, 1);
      override forward(x: Tensor): Tensor {
        const blur = ones([8, 1, 3, 3]);
        return this.conv.forward(conv2d(x, blur, { groups: 8, padding: 1 }));
      }
    }
    expect(equationsOf(new Blurred()).lines).toEqual(["x_1 = w_1 * x_0", "w_1' = f(w_1, g_0)"]);
  });

  it("lists the gradients of an update by name, whichever part of the input was cut first", () => {
    class SecondFirst extends Module {
      readonly conv = new Conv2d(3, 3, 1);
      readonly fuse = new Conv2d(11, 4, 1);
      override forward(x: Tensor): Tensor {
        const second = slice(x, 1, 5, 8);
        const deep = this.conv.forward(second);
        return this.fuse.forward(concat([slice(x, 1, 0, 5), second, deep], 1));
      }
    }
    expect(equationsOf(new SecondFirst()).lines).toEqual([
      "x_1 = w_1 * x_0''",
      "x_U = w_U * [x_0', x_0'', x_1]",
      "w_1' = f(w_1, g_0'')",
      "w_U' = f(w_U, g_0', g_0'', g_1)",
    ]);
  });

  it("writes differences, matrix products and other combinations as what they are", () => {
    class Combined extends Module {
      readonly a = new Conv2d(8, 8, 1);
      readonly b = new Conv2d(8, 8, 1);
      readonly c = new Conv2d(8, 8, 1);
      readonly d = new Conv2d(5, 5, 1);
      override forward(x: Tensor): Tensor {
        const [a, b] = [this.a.forward(x), this.b.forward(x)];
        const c = this.c.forward(sub(sub(a, b), x).maximum(b));
        return matmul(c, this.d.forward(transpose(c, 1, 3)).transpose(1, 3));
      }
    }
    const stage = stageOf(new Combined(), [1, 8, 5, 5]);
    const { forward, forwardLatex } = stageEquations(stage);
    expect(forward[2]).toBe("x_T = w_T * maximum((x_1 - x_2) - x_0, x_2)");
    expect(forwardLatex[2]).toBe("x_{T} = w_{T} * \\operatorname{maximum}((x_{1} - x_{2}) - x_{0}, x_{2})");
    expect(stageOutput(stage)).toEqual({ text: "x_T · x_3", latex: "x_{T} \\cdot x_{3}" });
  });

  it("sees a norm written out as a norm, and an activation written out as an activation", () => {
    class WrittenOut extends Module {
      readonly conv = new Conv2d(8, 8, 1);
      readonly next = new Conv2d(8, 8, 1);
      override forward(x: Tensor): Tensor {
        const y = this.conv.forward(x);
        const centred = sub(y, y.mean([0, 2, 3], { keepDims: true }));
        const normed = centred.div(centred.square().mean([0, 2, 3], { keepDims: true }).add(1e-5).sqrt());
        return this.next.forward(mul(normed, normed.sigmoid()));
      }
    }
    expect(equationsOf(new WrittenOut()).lines.slice(0, 2)).toEqual(["x_1 = w_1 * x_0", "x_2 = w_2 * x_1"]);
  });
});

it("finds nothing to be updated in a network whose weights became constants", () => {
  const folded = foldForInference(new PostActivationDense(8, 3, 3).eval());
  const stage = stageOf(folded);
  expect([stage.layers, stage.weights, stageStructure(stage).duplicates]).toEqual([[], [], 0]);
});

describe("what leaves a stage", () => {
  it("is written like what a layer reads", () => {
    class Residual extends Module {
      readonly conv = new Conv2d(8, 8, 1);
      readonly norm = new BatchNorm2d(8);
      override forward(x: Tensor): Tensor {
        return relu(add(x, this.norm.forward(this.conv.forward(x))));
      }
    }
    expect(stageOutput(stageOf(new Residual()))?.text).toBe("x_0 + x_1");
    const dense = stageOf(new PostActivationDense(8, 3, 2));
    expect(stageOutput(dense)).toEqual({ text: "[x_0, x_1, x_2]", latex: "[x_{0}, x_{1}, x_{2}]" });
  });

  it("lists the maps that are read outside, and is nothing where nothing is", () => {
    class Pair extends Module {
      readonly stage = new Sequential({ a: new Conv2d(8, 8, 1), b: new Conv2d(8, 8, 3, { padding: 1 }) });
      readonly head = new Conv2d(16, 1, 1);
      override forward(x: Tensor): Tensor {
        const [a, b] = [...this.stage.namedChildren().values()];
        const first = a.forward(x);
        return this.head.forward(concat([first, b.forward(first)], 1));
      }
    }
    expect(stageOutput(stageOf(new Pair(), [1, 8, 4, 4], ["stage"]))?.text).toBe("outputs(x_1, x_2)");
    class Aside extends Module {
      readonly unused = new Conv2d(8, 8, 1);
      override forward(x: Tensor): Tensor {
        this.unused.forward(x);
        return relu(x);
      }
    }
    expect(stageOutput(stageOf(new Aside(), [1, 8, 4, 4], ["unused"]))).toBeNull();
  });
});

describe("a selection that is wrong", () => {
  const network = new Sequential({
    stem: new Conv2d(8, 8, 1),
    body: new Sequential({ one: new Conv2d(8, 8, 1) }),
  });

  it("names the path that does not exist, beside those that do", () => {
    expect(() => stageOf(network, [1, 8, 2, 2], ["stem", "body.two"])).toThrow(
      'no op of the traced network lies in "body.two": it has no such module; in body there are body.one',
    );
    expect(() => stageOf(network, [1, 8, 2, 2], ["features"])).toThrow("its modules are stem, body");
    expect(() => stageOf(network, [1, 8, 2, 2], ["stem.conv"])).toThrow("in stem there are none");
    expect(() => stageOf(network, [1, 8, 2, 2], [])).toThrow("choose modules");
  });

  it("says that a module computes nothing where none of its ops touches the input", () => {
    class Idle extends Module {
      readonly idle = new Conv2d(8, 8, 1);
      readonly active = new Conv2d(8, 8, 1);
      override forward(x: Tensor): Tensor {
        return this.active.forward(x);
      }
    }
    expect(() => stageOf(new Idle(), [1, 8, 2, 2], ["idle"])).toThrow(
      'no op of the traced network lies in "idle"; choose modules that compute something from the input',
    );
    // Beside a module that computes, one that does nothing in evaluation mode (dropout) is no mistake.
    expect(stageOf(new Idle(), [1, 8, 2, 2], ["idle", "active"]).layers).toHaveLength(1);
  });

  it("is refused by the recorder, too, which takes modules that compute nothing as they are", () => {
    class Dropped extends Module {
      readonly conv = new Conv2d(8, 8, 1);
      readonly dropout = new Dropout(0);
      override forward(x: Tensor): Tensor {
        return this.dropout.forward(add(x, this.conv.forward(x)));
      }
    }
    const sampled = (paths: string[]) => {
      const model = new Dropped();
      const images = randn([2, 8, 3, 3]);
      const recorder = new GradientRecorder(model, [{ name: "stage", paths }], { everySteps: 1 });
      recorder.step(0, images, () => model.forward(images).sum().backward());
    };
    expect(() => sampled(["conv", "dropout"])).not.toThrow();
    expect(() => sampled(["conv", "drop"])).toThrow("its modules are conv, dropout");
  });
});
