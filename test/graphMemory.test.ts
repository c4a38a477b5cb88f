/** The memory that a network is said to take is the memory that it takes. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { add, backward, checkpoint, concat, relu, sum } from "../src/autograd/index.ts";
import { type Graph, inferenceMemory, trace, trainingMemory } from "../src/graph/index.ts";
import { cspDenseNet, densenet, densenet121 } from "../src/models/index.ts";
import {
  AvgPool2d,
  BatchNorm2d,
  Conv2d,
  Flatten,
  Linear,
  Module,
  ReLU,
  Sequential,
} from "../src/nn/index.ts";
import { randn, zeros } from "../src/tensor/create.ts";
import { memoryReport, resetPeakMemory } from "../src/tensor/runtime.ts";
import { scope } from "../src/tensor/scope.ts";
import type { Tensor } from "../src/tensor/tensor.ts";

/** What a real step leaves after its forward pass and takes at most, by the backend's own account. */
function measured(module: Module, shape: readonly number[]): { keptBytes: number; stepBytes: number } {
  module.zeroGrad();
  const before = memoryReport().liveBytes;
  return scope(() => {
    const x = randn(shape);
    resetPeakMemory();
    const loss = sum(module.train().forward(x));
    const keptBytes = memoryReport().liveBytes - before;
    backward(loss);
    const stepBytes = memoryReport().peakBytes - before;
    module.zeroGrad();
    return { keptBytes, stepBytes };
  });
}

class Checkpointed extends Module {
  readonly first = new Conv2d(3, 16, 3, { padding: 1 });
  readonly inner = new Sequential(
    new ReLU(),
    new Conv2d(16, 16, 3, { padding: 1 }),
    new BatchNorm2d(16),
    new ReLU(),
  );
  override forward(x: Tensor): Tensor {
    return checkpoint((map) => this.inner.forward(map), this.first.forward(x));
  }
}

const size = { growthRate: 4, stemChannels: 8, classes: 5, inChannels: 1 };

describe("trainingMemory", () => {
  const networks: readonly [string, () => Module, readonly number[]][] = [
    ["DenseNet", () => densenet({ blocks: [2, 3], ...size }), [2, 1, 64, 48]],
    ["CSPDenseNet", () => cspDenseNet({ blocks: [3, 2], ...size, dropout: 0.2 }), [3, 1, 64, 64]],
    [
      "a plain network",
      () =>
        new Sequential(
          new Conv2d(3, 5, 3),
          new BatchNorm2d(5),
          new ReLU(),
          new AvgPool2d(2),
          new Flatten(),
          new Linear(45, 2),
        ),
      [4, 3, 8, 8],
    ],
    ["checkpointed layers", () => new Checkpointed(), [2, 3, 9, 7]],
  ];

  it.each(networks)("is to the byte what a step of %s takes", (_, build, shape) => {
    const module = build();
    const { keptBytes, stepBytes } = trainingMemory(module, [shape]);
    expect({ keptBytes, stepBytes }).toEqual(measured(module, shape));
  });

  it("adds weights and the optimizer's state", () => {
    const module = new Conv2d(3, 5, 1);
    const planned = trainingMemory(module, [[1, 3, 2, 2]], { optimizerStates: 2 });
    expect(planned).toMatchObject({ weightBytes: 80, gradientBytes: 80, optimizerBytes: 160 });
    expect(planned.peakBytes).toBe(80 + 160 + planned.stepBytes);
    expect(trainingMemory(module, [[1, 3, 2, 2]], { optimizerStates: 0 }).optimizerBytes).toBe(0);
  });

  it("leaves gradients, running statistics, modes and memory alone, and takes milliseconds", () => {
    const module = densenet121().eval();
    const [weight] = module.parameters();
    weight.grad = zeros(weight.shape);
    const { grad } = weight;
    const state = () =>
      [...module.namedBuffers().values()].slice(0, 3).map((buffer) => [...buffer.dataSync()]);
    const [before, live] = [state(), memoryReport().liveBytes];
    const start = performance.now();
    const { keptBytes } = trainingMemory(module, [[64, 3, 224, 224]]);
    expect(performance.now() - start).toBeLessThan(3000);
    expect(keptBytes).toBeGreaterThan(2e9);
    expect(memoryReport().liveBytes).toBe(live);
    expect([weight.grad, module.training, state()]).toEqual([grad, false, before]);
  });

  it("counts no gradients for a module that has nothing to train", () => {
    expect(trainingMemory(new ReLU(), [[1, 2, 3, 3]])).toMatchObject({ gradientBytes: 0, weightBytes: 0 });
  });
});

describe("inferenceMemory", () => {
  class Diamond extends Module {
    readonly wide = new Conv2d(1, 4, 1, { bias: false });
    override forward(x: Tensor): Tensor {
      const map = this.wide.forward(x);
      // x dies with the convolution; map lives until the sum, its slice in its memory.
      const left = relu(map);
      return concat([add(left, map), left], 1);
    }
  }

  it("is what one counts by hand, map by map", () => {
    const bytes = 4 * 6;
    // input 1 + map 4; map + left 8; + sum 12; then left 4 + sum 4 + concatenation 8.
    expect(inferenceMemory(trace(new Diamond(), [1, 1, 2, 3]))).toEqual({
      ...{ activationBytes: (1 + 4 + 4 + 4 + 8) * bytes, peakBytes: 16 * bytes, peakAt: "" },
    });
  });

  it("is that of a plain simulation, on any graph", () => {
    const step = fc.record({
      op: fc.constantFrom("add", "relu", "reshape"),
      a: fc.nat(),
      b: fc.nat(),
      size: fc.integer({ min: 1, max: 50 }),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), fc.nat(), (steps, chosen) => {
        // Value 0 is the input, value i + 1 what step i makes; a view has the size of what it views.
        const sizes = [10];
        const owners = [0];
        const reads = steps.map(({ op, a, b, size }, i) => {
          const [from, other] = [a % (i + 1), b % (i + 1)];
          sizes.push(op === "reshape" ? sizes[from] : size);
          owners.push(op === "reshape" ? owners[from] : i + 1);
          return op === "add" ? [from, other] : [from];
        });
        const output = chosen % (steps.length + 1);
        const graph: Graph = {
          values: sizes.map((size, id) => ({
            ...{
              id,
              shape: [size],
              dtype: "f32",
              producer: id === 0 ? null : id - 1,
              consumers: [],
              parameter: null,
              trained: false,
            },
          })),
          nodes: steps.map(({ op }, id) => ({
            ...{ id, op, inputs: reads[id], output: id + 1, attributes: {}, modulePath: `step ${id}` },
          })),
        };
        const isLive = (memory: number, time: number): boolean => {
          if (owners[memory] !== memory || memory - 1 > time) return false;
          const isReadLater = reads.some(
            (read, at) => at >= time && read.some((value) => owners[value] === memory),
          );
          const isInput = memory === 0 && !reads.flat().some((value) => owners[value] === 0);
          return isReadLater || owners[output] === memory || memory - 1 === time || isInput;
        };
        const used = steps.map((_, time) =>
          sizes.reduce((sum, size, id) => sum + (isLive(id, time) ? size : 0), 0),
        );
        const found = inferenceMemory({ graph, inputs: [0], output });
        expect(found.peakBytes).toBe(4 * Math.max(10, ...used));
        expect(found.activationBytes).toBe(
          4 * sizes.reduce((sum, size, id) => sum + (owners[id] === id ? size : 0), 0),
        );
      }),
    );
  });

  it("counts a view as the memory that it looks at", () => {
    const network = new Sequential(new Conv2d(1, 2, 1, { bias: false }), new Flatten(), new ReLU());
    expect(inferenceMemory(trace(network, [1, 1, 2, 2]))).toEqual({
      ...{ activationBytes: (4 + 8 + 8) * 4, peakBytes: 16 * 4, peakAt: "2" },
    });
  });
});
