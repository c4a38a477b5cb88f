/** checkpointModules: the same training with less memory. */
import { describe, expect, it } from "vitest";
import { crossEntropy, manualSeed, memoryReport, nn, optim, randn, scope, tensor } from "../src/index.ts";
import { cspDenseNet } from "../src/models/index.ts";

function build() {
  manualSeed(3);
  return cspDenseNet({
    blocks: [4, 4],
    growthRate: 8,
    stem: "small",
    stemChannels: 16,
    inChannels: 1,
    classes: 5,
  });
}

describe("checkpointModules", () => {
  it("leaves losses, gradients and running statistics as they were, and takes less memory", () => {
    manualSeed(9);
    const images = randn([32, 1, 16, 16]);
    const labels = tensor(
      Array.from({ length: 32 }, (_, i) => i % 5),
      { dtype: "i32" },
    );
    const run = (checkpointed: boolean) => {
      const model = build();
      if (checkpointed)
        nn.checkpointModules(
          model,
          model.stages.flatMap(({ paths }) => paths),
        );
      const optimizer = new optim.SGD(model.parameters(), { lr: 0.1, momentum: 0.9 });
      const before = memoryReport().liveBytes;
      let kept = 0;
      const losses = Array.from({ length: 3 }, () =>
        scope(() => {
          optimizer.zeroGrad();
          const logits = model.forward(images);
          kept = memoryReport().liveBytes - before;
          const loss = crossEntropy(logits, labels);
          loss.backward();
          optimizer.step();
          return loss;
        }).itemSync(),
      );
      return {
        losses,
        kept,
        state: [...model.stateDict()].map(([name, value]) => [name, value.toArraySync()]),
      };
    };
    const [plain, checkpointed] = [run(false), run(true)];
    expect(checkpointed.losses).toEqual(plain.losses);
    expect(checkpointed.state).toEqual(plain.state);
    expect(checkpointed.kept).toBeLessThan(0.7 * plain.kept);
  });

  it("can be undone, and refuses paths that do not exist or lie in each other", () => {
    const model = build();
    const { forward } = model.namedModules().get("features.stage1") ?? model;
    const undo = nn.checkpointModules(model, ["features.stage1"]);
    expect(model.namedModules().get("features.stage1")?.forward).not.toBe(forward);
    undo();
    expect(model.namedModules().get("features.stage1")?.forward).toBe(forward);
    expect(() => nn.checkpointModules(model, ["features.stage9"])).toThrow(
      "there is no module features.stage9",
    );
    expect(() => nn.checkpointModules(model, ["features.stage1", "features.stage1.block"])).toThrow(
      "features.stage1.block lies inside features.stage1",
    );
  });
});
