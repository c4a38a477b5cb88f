/** Networks of shapes alone: built in no time and no memory, counted like real ones, and refusing everything else. */
import { describe, expect, it } from "vitest";
import { cost, trace, trainingMemory, withoutValues } from "../src/graph/index.ts";
import { createModel, cspDenseNet, listModels } from "../src/models/index.ts";
import { Generator } from "../src/tensor/generator.ts";
import { manualSeed, memoryReport, ones, rand, zeros } from "../src/tensor/index.ts";

const build = () => cspDenseNet({ blocks: [2, 3], growthRate: 4, classes: 5, dropout: 0.1 });

describe("withoutValues", () => {
  it("counts as the network with values does", () => {
    const [shapes, real] = [withoutValues(build), build()];
    expect(cost(trace(shapes, [2, 3, 64, 48]))).toEqual(cost(trace(real, [2, 3, 64, 48])));
    expect(trainingMemory(shapes, [[2, 3, 64, 48]])).toEqual(trainingMemory(real, [[2, 3, 64, 48]]));
    expect([...shapes.stateDict()].map(([name, { shape, dtype }]) => [name, shape, dtype])).toEqual(
      [...real.stateDict()].map(([name, { shape, dtype }]) => [name, shape, dtype]),
    );
  });

  it.each(listModels())("lets %s be counted: every parameter is found in its graph, each once", (name) => {
    const network = withoutValues(() => createModel(name));
    const { parameters, weights, layers } = cost(trace(network, [1, ...network.defaultInput]));
    expect(parameters).toBe(network.parameterCount());
    const convolutions = layers.filter(({ kind }) => kind === "convolution" || kind === "linear");
    expect(weights).toBe(convolutions.reduce((sum, layer) => sum + layer.weights, 0));
    expect(convolutions.every((layer) => layer.weights > 0 && layer.multiplyAdds >= layer.weights)).toBe(
      true,
    );
  });

  it("builds the largest network in an instant, and takes no memory", () => {
    const before = memoryReport().liveBytes;
    const start = performance.now();
    const network = withoutValues(() => createModel("resnet-152"));
    expect(performance.now() - start).toBeLessThan(500);
    expect(memoryReport().liveBytes).toBe(before);
    expect(network.parameterCount()).toBe(60_192_808);
  });

  it("refuses to read or compute what is not there, and ends with its body", async () => {
    const network = withoutValues(build);
    const [weight] = network.parameters();
    expect(() => weight.dataSync()).toThrow("has a shape and no values");
    await expect(async () => weight.data()).rejects.toThrow("has a shape and no values");
    expect(() => withoutValues(() => ones([2]).add(1).itemSync())).toThrow();
    expect(() => network.forward(zeros([1, 3, 64, 64]))).toThrow("make them on one");
    expect(ones([2]).add(1).toArraySync()).toEqual([2, 2]);
    expect(() =>
      withoutValues(() => {
        throw new Error("from the body");
      }),
    ).toThrow("from the body");
    expect(rand([1]).dataSync()[0]).toBeGreaterThanOrEqual(0);
  });

  it("draws no random numbers", () => {
    manualSeed(3);
    withoutValues(build);
    expect(rand([1]).itemSync()).toBe(rand([1], { generator: new Generator(3) }).itemSync());
  });
});
