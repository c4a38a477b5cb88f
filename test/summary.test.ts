/** A network at a glance: what the tree says of each module, and how it prints on terminals of any width. */
import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { summary, withoutValues } from "../src/graph/index.ts";
import { densenet, densenet121 } from "../src/models/index.ts";
import { BatchNorm2d, Conv2d, Flatten, Linear, Module, ReLU, Sequential } from "../src/nn/index.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { displayWidth } from "../src/text/table.ts";

class Twice extends Module {
  readonly body = new Sequential({ conv: new Conv2d(2, 2, 3, { padding: 1, bias: false }), act: new ReLU() });
  readonly spare = new Conv2d(2, 4, 1);
  readonly head = new Sequential(new Flatten(), new Linear(24, 3));
  override forward(x: Tensor): Tensor {
    return this.head.forward(this.body.forward(this.body.forward(x)));
  }
}

describe("summary", () => {
  it("has every module with its shape, parameters and multiply-adds, as counted by hand", () => {
    const { rows, model } = summary(new Twice(), [5, 2, 3, 4]);
    expect(model).toBe("Twice");
    const conv = 2 * 12 * 2 * 2 * 9;
    const total = conv + 24 * 3;
    expect(rows.map(({ path, type, depth }) => [path, type, depth])).toEqual([
      ...[
        ["", "Twice", 0],
        ["body", "Sequential", 1],
        ["body.conv", "Conv2d", 2],
        ["body.act", "ReLU", 2],
      ],
      ...[
        ["spare", "Conv2d", 1],
        ["head", "Sequential", 1],
        ["head.0", "Flatten", 2],
        ["head.1", "Linear", 2],
      ],
    ]);
    const byPath = new Map(rows.map((row) => [row.path, row]));
    expect(byPath.get("")).toMatchObject({
      outputShape: [5, 3],
      parameters: 36 + 12 + 75,
      multiplyAdds: total,
      share: 1,
    });
    expect(byPath.get("body")).toMatchObject({
      outputShape: [5, 2, 3, 4],
      parameters: 36,
      multiplyAdds: conv,
    });
    expect(byPath.get("spare")).toMatchObject({ outputShape: null, parameters: 12, multiplyAdds: 0 });
    expect(byPath.get("head.0")).toMatchObject({ outputShape: [5, 24], parameters: 0 });
    expect(byPath.get("head.1")?.share).toBe(72 / total);
  });

  it("keeps apart modules whose names begin alike", () => {
    const network = new Sequential({ conv1: new Conv2d(1, 2, 1), conv10: new Conv2d(2, 7, 1) });
    const [, first, tenth] = summary(network, [1, 1, 4, 4]).rows;
    expect([first.multiplyAdds, first.outputShape]).toEqual([32, [1, 2, 4, 4]]);
    expect([tenth.multiplyAdds, tenth.outputShape]).toEqual([224, [1, 7, 4, 4]]);
  });

  it("goes as deep as asked", () => {
    const paths = (depth: number) =>
      summary(new Twice(), [1, 2, 3, 4], { depth }).rows.map(({ path }) => path);
    expect(paths(1)).toEqual(["", "body", "spare", "head"]);
    expect(paths(9)).toEqual(paths(2));
    expect(() => summary(new Twice(), [1, 2, 3, 4], { depth: 0 })).toThrow("depth 0 must be at least 1");
  });

  it("states the whole network's cost", () => {
    const network = withoutValues(densenet121);
    network.classifier.weight.requiresGrad = false;
    const { totals } = summary(network);
    expect(totals).toMatchObject({
      ...{ inputShape: [1, 3, 224, 224], parameters: 7_978_856, frozenParameters: 1_024_000 },
      // every weight but those of 121 norms and the classifier's bias
      weights: 7_978_856 - 83_648 - 1000,
    });
    expect(totals.multiplyAdds / 1e9).toBeCloseTo(2.834, 3);
    // the stem's max pool is what Darknet counts on top
    expect(totals.darknetFlops).toBe(2 * totals.multiplyAdds + 9 * 64 * 56 * 56);
    expect(totals.trainingBytes).toBeGreaterThan(totals.inferenceBytes);
  });

  it("says that a batch is too small to train on, and fails for any other reason", () => {
    const normed = new Sequential(new Conv2d(1, 2, 1), new BatchNorm2d(2));
    const alone = summary(normed, [1, 1, 1, 1]);
    expect(alone.totals.trainingBytes).toBeNull();
    expect(alone.toString()).toContain("needs a larger batch");
    expect(summary(normed, [2, 1, 1, 1]).totals.trainingBytes).toBeGreaterThan(0);
    expect(() => summary(normed, [1, 3, 1, 1])).toThrow("conv2d");
  });

  it("asks for the shape of a module that has no default", () => {
    expect(() => summary(new ReLU())).toThrow(
      "summary: ReLU does not say what it takes; pass the input's shape",
    );
  });

  const network = densenet({ blocks: [2, 2], growthRate: 4, classes: 5 });

  it("prints itself, without a line wider than the terminal", () => {
    const printed = summary(network, [1, 3, 64, 64]);
    expect(inspect(printed)).toBe(printed.toString());
    for (const columns of [40, 52, 60, 80, 100]) {
      const lines = printed.lines({ columns });
      for (const line of lines) expect(displayWidth(line), line).toBeLessThanOrEqual(columns);
    }
    const [wide, narrow] = [100, 60].map((columns) => printed.lines({ columns }).join("\n"));
    expect(wide).toContain("Share");
    expect(narrow).not.toContain("Share");
    expect(narrow).toMatch(/Parameters +MACs/);
  });

  it("is JSON", () => {
    const { rows, totals, ...rest } = summary(network, [1, 3, 64, 64]);
    expect(JSON.parse(JSON.stringify(summary(network, [1, 3, 64, 64])))).toEqual({
      ...rest,
      totals,
      modules: rows,
    });
  });
});
