/** Edited gradient paths: the gradients are those of a network in which the same edges were cut by detach. */
import { describe, expect, it } from "vitest";
import { mean, square } from "../src/autograd/index.ts";
import {
  duplicatedPaths,
  GradientRecorder,
  type PathEdit,
  PathEditor,
  reweight,
  truncate,
} from "../src/gradflow/index.ts";
import { cspDenseNet, densenet } from "../src/models/index.ts";
import { randn } from "../src/tensor/create.ts";
import { Generator, manualSeed } from "../src/tensor/generator.ts";
import { memoryReport } from "../src/tensor/runtime.ts";
import { scope } from "../src/tensor/scope.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { CuttableNetwork } from "./support/cuttableStage.ts";

const stages = [{ name: "stage", paths: ["stage"] }];
const images = randn([3, 1, 5, 4], { dtype: "f64", generator: new Generator(2) });

function network(bypass: number): CuttableNetwork {
  manualSeed(5);
  const built = new CuttableNetwork(bypass, "both");
  built.to("f64").train();
  return built;
}

/** The loss, and the gradients of all parameters and maps. */
function gradients(net: CuttableNetwork, edits: readonly PathEdit[]): { loss: number; all: number[][] } {
  net.zeroGrad();
  const run = (): Tensor => {
    const loss = mean(square(net.forward(images)));
    loss.backward();
    return loss;
  };
  const loss = edits.length > 0 ? new PathEditor(net, stages, edits).step(0, images, run) : run();
  const tensors = [...net.parameters(), ...net.stage.maps];
  return { loss: loss.itemSync(), all: tensors.map(({ grad }) => Array.from(grad?.dataSync() ?? [])) };
}

function expectSame(found: number[][], expected: number[][]): void {
  found.forEach((list, i) => {
    expect(list.length).toBe(expected[i].length);
    const size = Math.max(1e-12, ...expected[i].map(Math.abs));
    list.forEach((value, k) => void expect(Math.abs(value - expected[i][k]) / size).toBeLessThan(1e-9));
  });
}

const names = ["w_1", "w_2", "w_3", "w_T"];

describe.each([
  ["dense", 0, "0"],
  ["partial", 3, "0''"],
] as const)("paths in a %s stage", (_, bypass, first) => {
  const consumersOf = (map: number) => [0, 1, 2, 3].filter((consumer) => consumer >= map);

  it.each([0, 1, 2])("are cut as by detaching map %i", (map) => {
    const net = network(bypass);
    const plain = gradients(net, []);
    for (const kept of consumersOf(map)) {
      net.stage.live = { map, consumer: kept };
      const expected = gradients(net, []);
      net.stage.live = null;
      const cut = consumersOf(map).filter((consumer) => consumer !== kept);
      const name = map === 0 ? first : String(map);
      const found = gradients(net, [truncate(cut.map((i) => ({ map: name, consumer: names[i] })))]);
      expect(found.loss).toBe(plain.loss);
      expectSame(found.all, expected.all);
      // By modules: the layers that send, and the layer that made the map.
      const modules = ["stage.dense.0", "stage.dense.1", "stage.dense.2", "stage.transition"];
      const to = map === 0 ? { map: first } : { to: modules[map - 1] };
      expectSame(
        gradients(
          net,
          cut.map((i) => truncate({ stage: "stage", from: modules[i], ...to })),
        ).all,
        expected.all,
      );
    }
  });

  it("are scaled before the sum", () => {
    const net = network(bypass);
    const mapGradient = (edits: readonly PathEdit[]) => {
      gradients(net, edits);
      return Array.from(net.stage.maps[2].grad?.dataSync() ?? []);
    };
    const [both, withoutThird] = [mapGradient([]), mapGradient([truncate({ map: "2", consumer: "w_3" })])];
    const halved = mapGradient([reweight({ map: "2", consumer: "w_3" }, 0.5)]);
    const twice = mapGradient([
      reweight({ map: "2", consumer: "w_3" }, 0.5),
      reweight(
        [
          { map: "2", consumer: "w_3" },
          { consumer: "w_3", map: "2" },
        ],
        3,
      ),
    ]);
    both.forEach((value, i) => {
      const piece = value - withoutThird[i];
      expect(halved[i]).toBeCloseTo(value - piece / 2, 12);
      expect(twice[i]).toBeCloseTo(value + piece / 2, 12);
    });
    expect(both.some((value, i) => Math.abs(value - withoutThird[i]) > 1e-6)).toBe(true);
  });
});

const sizes = {
  blocks: [3, 2],
  growthRate: 3,
  stem: "small",
  stemChannels: 6,
  inChannels: 1,
  classes: 3,
} as const;

describe("duplicated paths", () => {
  const batch = randn([4, 1, 12, 12], { generator: new Generator(1) });

  it.each([
    ["DenseNet", () => densenet(sizes)],
    ["CSPDenseNet", () => cspDenseNet(sizes)],
  ] as const)("of a %s are all pieces but one a map", async (_, build) => {
    manualSeed(1);
    const net = build().train();
    const plain = new GradientRecorder(net, net.stages, { everySteps: 1 });
    const run = () => mean(square(net.forward(batch))).backward();
    plain.step(0, batch, run);
    await plain.flush();
    const pieces = plain.measured().flatMap(({ maps }) => maps.map(({ consumers }) => consumers.length));
    for (const keep of ["nearest", "random"] as const) {
      const editor = new PathEditor(net, net.stages, [truncate(duplicatedPaths({ keep, seed: 3 }))]);
      const inner = new GradientRecorder(net, net.stages, { everySteps: 1 });
      editor.step(0, batch, () => inner.step(0, batch, run));
      expect(editor.editedPieces).toBe(pieces.reduce((sum, n) => sum + n - 1, 0));
      await inner.flush();
      expect(inner.measured().flatMap(({ maps }) => maps)).toEqual([]);
    }
  });

  it("keep the nearest consumer's piece, or one drawn by the seed", () => {
    manualSeed(1);
    const net = densenet(sizes).train();
    const gradient = (edits: readonly PathEdit[]) => {
      net.zeroGrad();
      new PathEditor(net, net.stages, edits).step(0, batch, () =>
        mean(square(net.forward(batch))).backward(),
      );
      return net.parameters().map(({ grad }) => Array.from(grad?.dataSync() ?? []));
    };
    const nearest = gradient([truncate(duplicatedPaths())]);
    const byName = gradient([
      truncate([
        ...["w_2", "w_3", "w_T"].map((consumer) => ({ stage: "stage 1", map: "0", consumer })),
        ...["w_3", "w_T"].map((consumer) => ({ stage: "stage 1", map: "1", consumer })),
        { stage: "stage 1", map: "2", consumer: "w_T" },
        ...["w_2", "out"].map((consumer) => ({ stage: "stage 2", map: "0", consumer })),
        { stage: "stage 2", map: "1", consumer: "out" },
      ]),
    ]);
    expect(byName).toEqual(nearest);
    const random = (seed: number) => gradient([truncate(duplicatedPaths({ keep: "random", seed }))]);
    expect(random(1)).toEqual(random(1));
    expect(random(1)).not.toEqual(nearest);
  });

  it("leave no memory behind, step by step", () => {
    manualSeed(1);
    const net = densenet(sizes).train();
    const editor = new PathEditor(net, net.stages, [reweight({ map: "0" }, 0.5)]);
    const live = [0, 1, 2, 3].map((step) => {
      scope(() => {
        net.zeroGrad();
        editor.step(step, batch, () => mean(square(net.forward(batch))).backward());
      });
      return memoryReport().liveBytes;
    });
    expect(new Set(live.slice(1)).size).toBe(1);
  });
});

describe("a path that does not exist", () => {
  const net = network(0);
  const refused = (edit: PathEdit) => () => void gradients(net, [edit]);

  it("is an error that says what there is", () => {
    expect(refused(truncate({ map: "9" }))).toThrow(
      'truncate: no gradient path has map "9"; its map would be one of "0", "1", "2", "3"',
    );
    expect(refused(truncate({ stage: "stage 7" }))).toThrow(
      'stage "stage 7"; its stage would be one of "stage"',
    );
    expect(refused(reweight({ map: "1", consumer: "w_1" }, 2))).toThrow(
      'reweight: no gradient path has map "1" and consumer "w_1"; its consumer would be one of "w_2", "w_3", "w_T"',
    );
    expect(refused(truncate({ from: "stage.dense.7" }))).toThrow('"stage.dense.0", "stage.dense.1"');
    expect(refused(truncate({ to: "elsewhere" }))).toThrow("its to would be one of");
  });

  it("is none at all where nothing was asked for", () => {
    expect(() => new PathEditor(net, stages, [])).toThrow("no path to edit");
    expect(() => new PathEditor(net, stages, [truncate([])])).toThrow("no path to edit");
    for (const factor of [NaN, Infinity]) expect(() => reweight({}, factor)).toThrow(`factor ${factor}`);
  });
});
