/** Tracing follows shapes alone: the graph is that of a real forward pass, and nothing is computed, kept or changed. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  add,
  concat,
  crossEntropy,
  GrowingConcat,
  gather,
  mean,
  mul,
  noGrad,
  onOp,
  relu,
} from "../src/autograd/index.ts";
import { assignAll } from "../src/autograd/ops/assignAll.ts";
import { assign } from "../src/autograd/ops/inPlace.ts";
import { input as operand, mul as product } from "../src/backends/expression.ts";
import { type Graph, GraphBuilder, trace, traceTraining } from "../src/graph/index.ts";
import { cspDenseNet, densenet } from "../src/models/index.ts";
import { BatchNorm2d, Conv2d, Dropout, foldForInference, Module, Sequential } from "../src/nn/index.ts";
import { arange, ones, rand, randn, tensor, zeros } from "../src/tensor/create.ts";
import { manualSeed } from "../src/tensor/generator.ts";
import { memoryReport, resetPeakMemory } from "../src/tensor/runtime.ts";
import type { Tensor } from "../src/tensor/tensor.ts";

/** A module made of one function, with parameters and buffers that it may read. */
class Functional extends Module {
  readonly conv = new Conv2d(2, 2, 1);
  readonly steps: (x: Tensor, self: Functional) => Tensor;
  constructor(steps: (x: Tensor, self: Functional) => Tensor) {
    super();
    this.steps = steps;
    this.registerBuffer("anchors", tensor([1, 2, 3]));
  }
  override forward(x: Tensor): Tensor {
    return this.steps(x, this);
  }
}

const traced = (steps: (x: Tensor, self: Functional) => Tensor) =>
  trace(new Functional(steps), randn([1, 2, 3, 3]));

/** The graph of a forward pass that computes everything. */
function computedGraph(module: Module, images: Tensor): Graph {
  const builder = new GraphBuilder(module.namedParameters());
  builder.idOf(images);
  const stop = onOp((event) => builder.add(event));
  noGrad(() => module.forward(images));
  stop();
  return builder.graph();
}

describe("the graph of a trace", () => {
  const sizes = { growthRate: 3, stem: "small", inChannels: 2, classes: 5, dropout: 0.3 } as const;
  const networks = [
    densenet({ ...sizes, blocks: [2, 3] }),
    cspDenseNet({ ...sizes, blocks: [3, 2] }),
    cspDenseNet({ ...sizes, blocks: [1, 1], fusion: "first", stem: "imagenet" }),
  ];

  it.each(networks.map((network, i) => [i, network] as const))(
    "is that of a computed forward pass, network %i",
    (_, network) => {
      fc.assert(
        fc.property(fc.integer({ min: 32, max: 45 }), fc.integer({ min: 32, max: 45 }), (height, width) => {
          const images = zeros([2, 2, height, width]);
          expect(trace(network.train(), images).graph).toEqual(computedGraph(network.eval(), images));
          expect(traceTraining(network.eval(), images).graph).toEqual(computedGraph(network.train(), images));
        }),
        { numRuns: 3 },
      );
    },
  );

  it("has the fused op of a folded network", () => {
    const plain = new Sequential(new Conv2d(2, 3, 3), new BatchNorm2d(3)).eval();
    const ops = trace(foldForInference(plain), [1, 2, 5, 5]).graph.nodes.map(({ op }) => op);
    expect(ops).toEqual(
      computedGraph(foldForInference(plain), zeros([1, 2, 5, 5])).nodes.map(({ op }) => op),
    );
  });

  it("needs no tensor, a shape will do", () => {
    const { graph, inputs } = trace(networks[0], [3, 2, 32, 40]);
    expect(graph).toEqual(trace(networks[0], zeros([3, 2, 32, 40])).graph);
    expect(graph.values[inputs[0]]).toMatchObject({ shape: [3, 2, 32, 40], dtype: "f32" });
    const double = new Sequential(new Conv2d(2, 1, 1)).to("f64");
    expect(trace(double, [1, 2, 2, 2]).graph.values[0].dtype).toBe("f64");
    expect(() => trace(networks[0], [1, 2, -4, 4])).toThrow("trace");
    expect(() => trace(networks[0], [1, 7, 32, 32])).toThrow("conv2d");
  });

  it("takes several inputs, labels too, without looking at them", () => {
    class WithLoss extends Module {
      readonly conv = new Conv2d(2, 4, 1);
      override forward(x: Tensor, labels: Tensor): Tensor {
        const logits = mean(this.conv.forward(x), [2, 3]);
        return add(crossEntropy(logits, labels), mean(gather(logits, labels.reshape([2, 1]), 1)));
      }
    }
    // Label 9 is out of range: a computing pass would say so.
    const { graph, inputs, output } = trace(
      new WithLoss(),
      zeros([2, 2, 3, 3]),
      tensor([9, 0], { dtype: "i32" }),
    );
    expect(inputs.map((id) => graph.values[id].dtype)).toEqual(["f32", "i32"]);
    expect(graph.values[output].shape).toEqual([]);
  });
});

describe("tracing leaves no mark", () => {
  it("computes nothing and takes no memory for activations, in well under a second", () => {
    const network = densenet({ blocks: [6, 12, 64, 48], growthRate: 4, classes: 10 });
    trace(network, [1, 3, 32, 32]);
    const before = memoryReport().liveBytes;
    resetPeakMemory();
    const start = performance.now();
    const { graph } = trace(network, [8, 3, 512, 512]);
    const milliseconds = performance.now() - start;
    expect(graph.values.length).toBeGreaterThan(3000);
    // A computing pass takes gigabytes; the constants that ops make of numbers are some bytes.
    expect(memoryReport().peakBytes - before).toBeLessThan(10_000);
    expect(memoryReport().liveBytes).toBe(before);
    expect(milliseconds).toBeLessThan(1000);
  });

  it("neither moves running statistics nor counts a write nor draws a number", () => {
    const network = new Sequential(new Conv2d(2, 3, 1), new BatchNorm2d(3), new Dropout(0.5)).train();
    const marks = () =>
      [...network.stateDict()].map(([name, x]) => [name, x.storage.version, Array.from(x.dataSync())]);
    const before = marks();
    manualSeed(5);
    const expected = Array.from(rand([4]).dataSync());
    manualSeed(5);
    traceTraining(network, randn([2, 2, 4, 4]));
    manualSeed(5);
    traceTraining(network, [2, 2, 4, 4]);
    expect(Array.from(rand([4]).dataSync())).toEqual(expected);
    expect(marks()).toEqual(before);
    expect(network.namedModules().get("1")?.training).toBe(true);
  });

  it("leaves a tape recorded before usable", () => {
    const network = new Sequential(new Conv2d(2, 3, 1), new BatchNorm2d(3)).train();
    const loss = network.forward(randn([2, 2, 4, 4])).sum();
    traceTraining(network, [2, 2, 4, 4]);
    loss.backward();
    expect(network.parameters()[0].grad).not.toBeNull();
  });

  it("lets the module compute afterwards as before", () => {
    const network = densenet({ blocks: [2], growthRate: 2, stem: "small", inChannels: 1, classes: 3 }).eval();
    const images = randn([2, 1, 8, 8]);
    const result = () => noGrad(() => Array.from(network.forward(images).dataSync()));
    const before = result();
    trace(network, images);
    expect(result()).toEqual(before);
  });
});

describe("control flow that depends on data", () => {
  const readings: Record<string, (x: Tensor) => unknown> = {
    itemSync: (x) => mean(x).itemSync(),
    item: (x) => mean(x).item(),
    dataSync: (x) => x.dataSync(),
    data: (x) => x.data(),
    toArraySync: (x) => relu(x).toArraySync(),
    toArray: (x) => relu(x).toArray(),
    "a view of the input": (x) => x.slice(1, 0, 1).dataSync(),
    "a growing concatenation": (x) => new GrowingConcat(x, 4).tensor().dataSync(),
  };

  it.each(Object.entries(readings))("refuses %s, naming module, line and remedy", (_, read) => {
    class Chooser extends Module {
      override forward(x: Tensor): Tensor {
        read(x);
        return x;
      }
    }
    const network = new Sequential({ stem: new Conv2d(2, 2, 1), choice: new Sequential(new Chooser()) });
    const tracing = () => trace(network, randn([1, 2, 3, 3]));
    expect(tracing).toThrow(/the forward pass of choice\.0 reads the values of a tensor \[[^\]]*\]/);
    expect(tracing).toThrow(/at \/.*trace\.test\.ts:\d+:\d+; .*may not depend on data\. Choose with ops/s);
  });

  it("names the class of a module that is traced itself", () => {
    expect(() => traced((x) => (mean(x).itemSync() > 0 ? x : mul(x, 2)))).toThrow(
      "the forward pass of Functional reads the values of a tensor []",
    );
  });

  it("is found where the module caught the error", () => {
    const careless = (x: Tensor) => {
      try {
        return mean(x).itemSync() > 0 ? x : mul(x, 2);
      } catch {
        return x;
      }
    };
    expect(() => traced(careless)).toThrow("may not depend on data");
  });

  it("is found in an asynchronous forward, and leaves no rejection behind", async () => {
    class Asynchronous extends Module {
      override forward(x: Tensor): Tensor {
        const later = async () => ((await mean(x).item()) > 0 ? x : mul(x, 2));
        return later() as unknown as Tensor;
      }
    }
    expect(() => trace(new Asynchronous(), [1, 2])).toThrow("may not depend on data");
    await new Promise((resolve) => setTimeout(resolve, 5));
    class Promising extends Module {
      override forward(x: Tensor): Tensor {
        return Promise.resolve(x) as unknown as Tensor;
      }
    }
    expect(() => trace(new Promising(), [1, 2])).toThrow("Promising.forward gave a promise");
  });

  it("allows what is known without the input: parameters, buffers, constants, shapes", () => {
    const { graph } = traced((x, self) => {
      const [first] = self.buffer("anchors").dataSync();
      const repeats = x.shape[2] + arange(2).dataSync().length + first;
      const scale = self.conv.weight.dataSync().length;
      return Array.from({ length: repeats }).reduce<Tensor>((y) => mul(y, scale), x);
    });
    expect(graph.nodes.filter(({ op }) => op === "mul")).toHaveLength(6);
  });

  it("refuses a buffer once the module wrote to it: the write was followed, not done", () => {
    expect(() =>
      traced((x, self) => {
        const anchors = self.buffer("anchors");
        assign(anchors, product(operand(0), operand(0)), [anchors]);
        return anchors.dataSync()[1] > 3 ? x : mul(x, 2);
      }),
    ).toThrow("may not depend on data");
  });

  it("refuses a buffer that was updated together with others", () => {
    expect(() =>
      traced((x, self) => {
        const anchors = self.buffer("anchors");
        const rows = [ones([3]), anchors].map((target) => [ones([3]), target]);
        assignAll(rows, [{ target: 1, expression: product(operand(0), operand(1)) }]);
        return anchors.dataSync()[1] > 3 ? x : mul(x, 2);
      }),
    ).toThrow("may not depend on data");
  });

  it("lets a module print what it computes", () => {
    let text = "";
    traced((x) => {
      text = String(relu(x));
      return x;
    });
    expect(text).toBe("tensor(on shapes only, shape [1, 2, 3, 3], f32)");
  });
});

it("says why a tensor that outlived the trace has no values", async () => {
  let kept: Tensor = ones([1]);
  traced((x) => {
    kept = relu(x).keep();
    return x;
  });
  expect(() => kept.dataSync()).toThrow("while a graph was recorded");
  await expect(async () => kept.data()).rejects.toThrow("while a graph was recorded");
  expect(() => concat([kept, ones([1, 2, 3, 3])], 1)).toThrow(/backends shapes only and/);
});
