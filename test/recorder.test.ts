/** What is measured on gradient pieces is what the pieces are, obtained in another way; and measuring changes nothing. */
import { describe, expect, it } from "vitest";
import { crossEntropy, mean, onEdge, onOp, square } from "../src/autograd/index.ts";
import { hasEdgeListeners, hasOpListeners } from "../src/autograd/observers.ts";
import { GradientRecorder, type StageSelection } from "../src/gradflow/index.ts";
import { cspDenseNet, DenseBlock, type DenseNet, densenet } from "../src/models/index.ts";
import { Conv2d, type Module } from "../src/nn/index.ts";
import { SGD } from "../src/nn/optim/index.ts";
import { randn, tensor } from "../src/tensor/create.ts";
import { Generator, manualSeed } from "../src/tensor/generator.ts";
import { memoryReport } from "../src/tensor/runtime.ts";
import { scope } from "../src/tensor/scope.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { CuttableNetwork, type CuttableStage } from "./support/cuttableStage.ts";
import { Chain, ResidualBlock } from "./support/userStages.ts";

type Float = "f32" | "f64";

const sizes = {
  blocks: [3, 2],
  growthRate: 3,
  bottleneckWidth: 2,
  stem: "small",
  stemChannels: 6,
  inChannels: 1,
  classes: 3,
} as const;
const labels = () => tensor([0, 1, 2, 1], { dtype: "i32" });
const batch = (dtype: Float = "f32", seed = 1) =>
  randn([4, 1, 12, 12], { dtype, generator: new Generator(seed) });

const networks: [name: string, build: () => DenseNet][] = [
  ["DenseNet", () => densenet(sizes)],
  ...(["both", "first", "last"] as const).map((fusion): [string, () => DenseNet] => [
    `CSPDenseNet, fusion ${fusion}`,
    () => cspDenseNet({ ...sizes, fusion }),
  ]),
];

function seeded(build: () => DenseNet): DenseNet {
  manualSeed(11);
  return build().train();
}

const lossOf = (network: Module, images: Tensor) => crossEntropy(network.forward(images), labels());

/** Numbers one after the other as the engine adds them, each sum rounded to the dtype. */
function sumInOrder(pieces: readonly Tensor[], dtype: Float): number[] {
  const round = dtype === "f32" ? Math.fround : (value: number) => value;
  return pieces
    .map((piece) => Array.from(piece.dataSync()))
    .reduce((total, piece) => total.map((value, i) => round(value + piece[i])));
}

describe.each(networks)("pieces of a %s", (_, build) => {
  it.each(["f32", "f64"] as const)("sum to the gradient of every tensor, to the last bit, in %s", (dtype) => {
    const network = seeded(build);
    if (dtype === "f64") network.to("f64");
    const complete = new Map<Tensor, Tensor>();
    const stopOps = onOp(({ output }) => {
      if (output.gradFn) output.registerHook((gradient) => void complete.set(output, gradient));
    });
    const loss = lossOf(network, batch(dtype));
    stopOps();
    const pieces = new Map<Tensor, Tensor[]>();
    const stopEdges = onEdge(({ to, gradient }) => {
      pieces.set(to, [...(pieces.get(to) ?? []), gradient]);
      return undefined;
    });
    loss.backward();
    stopEdges();
    for (const parameter of network.parameters()) if (parameter.grad) complete.set(parameter, parameter.grad);

    let shared = 0;
    for (const [to, list] of pieces) {
      const total = complete.get(to);
      expect(Array.from(total?.dataSync() ?? [])).toEqual(sumInOrder(list, dtype));
      if (list.length > 1) shared += 1;
    }
    // x_0, x_1, x_2 of the first stage and x_0, x_1 of the second have several consumers at least.
    expect(shared).toBeGreaterThanOrEqual(5);
  });
});

const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, value, i) => sum + value * b[i], 0);

/** The gradient of each map of the stage's last backward pass. */
const gradientsOf = (stage: CuttableStage) =>
  stage.maps.map(({ grad }) => Float64Array.from(grad?.dataSync() ?? []));

const pass = (network: CuttableNetwork, images: Tensor) => mean(square(network.forward(images))).backward();

const expectNear = (actual: number | null, expected: number) =>
  expect(Math.abs((actual ?? NaN) - expected)).toBeLessThan(1e-9);

/** Pearson correlation of channel means, by the book. */
function plainSideCorrelation(a: Tensor, b: Tensor): number {
  const channelMeans = ({ shape: [n, c, h, w], grad }: Tensor) => {
    const values = grad?.dataSync() ?? [];
    return Array.from({ length: n * h * w }, (_, i) => {
      const [image, pixel] = [Math.floor(i / (h * w)), i % (h * w)];
      let sum = 0;
      for (let channel = 0; channel < c; channel++) sum += values[(image * c + channel) * h * w + pixel];
      return sum / c;
    });
  };
  const centred = (values: number[]) =>
    values.map((v) => v - values.reduce((x, y) => x + y, 0) / values.length);
  const [x, y] = [a, b].map((map) => Float64Array.from(centred(channelMeans(map))));
  return dot(x, y) / Math.sqrt(dot(x, x) * dot(y, y));
}

describe.each([
  ["dense stage", 0, "both", "w_T"],
  ["partial stage, fusion both", 3, "both", "w_T"],
  ["partial stage, fusion first", 2, "first", "w_U"],
  ["partial stage, fusion last", 3, "last", "w_T"],
] as const)("measures on a %s", (_, bypass, fusion, reader) => {
  manualSeed(5);
  const network = new CuttableNetwork(bypass, fusion);
  network.to("f64").train();
  const { stage } = network;
  const images = randn([3, 1, 5, 4], { dtype: "f64", generator: new Generator(2) });
  const recorder = new GradientRecorder(network, [{ name: "stage", paths: ["stage"] }]);
  recorder.step(0, images, () => pass(network, images));
  const whole = gradientsOf(stage);
  const measuring = recorder.flush().then(() => recorder.measured()[0]);

  it.each([0, 1, 2])(
    "norms and cosines of map %i are those of pieces from runs with one edge alone",
    async (j) => {
      const measured = await measuring;
      const consumers = [0, 1, 2, 3].filter((consumer) => consumer >= j);
      const pieces = consumers.map((consumer) => {
        stage.live = { map: j, consumer };
        pass(network, images);
        stage.live = null;
        return gradientsOf(stage)[j];
      });
      const total = whole[j].map((_value, i) => pieces.reduce((sum, piece) => sum + piece[i], 0));
      whole[j].forEach((value, i) => void expectNear(value, total[i]));

      const name = j === 0 ? (bypass > 0 ? "0''" : "0") : String(j);
      const found = measured.maps.find(({ map }) => map === name);
      expect(found?.consumers).toEqual(consumers.map((i) => (i === 3 ? reader : `w_${i + 1}`)));
      const [sample] = found?.samples ?? [];
      const lengths = pieces.map((piece) => Math.sqrt(dot(piece, piece)));
      expect(sample.norms.length).toBe(pieces.length);
      lengths.forEach((length, a) => {
        expectNear((sample.norms[a] ?? NaN) / length, 1);
        pieces.forEach(
          (other, b) => void expectNear(sample.cosine[a][b], dot(pieces[a], other) / (length * lengths[b])),
        );
      });
      const energy = pieces.reduce((sum, piece) => sum + dot(piece, piece), 0);
      expectNear(sample.sharedEnergy, dot(total, total) / (pieces.length * energy));
    },
  );

  it("correlates the two sides' gradients, where there are two", async () => {
    const measured = await measuring;
    if (bypass === 0) {
      expect(measured.sides).toBeNull();
      return;
    }
    pass(network, images);
    expect(measured.sides?.map(({ step }) => step)).toEqual([0]);
    expectNear(measured.sides?.[0].correlation ?? null, plainSideCorrelation(stage.maps[0], stage.maps[4]));
  });
});

describe("the recorder", () => {
  it("names the consumers of every map that several read", async () => {
    const consumersOf = async (network: DenseNet, stages: readonly StageSelection[] = network.stages) => {
      const recorder = new GradientRecorder(network, stages);
      const images = batch();
      recorder.step(0, images, () => lossOf(network, images).backward());
      await recorder.flush();
      return recorder
        .measured()
        .map(({ name, maps }) => [
          name,
          ...maps.map(({ map, consumers }) => `${map}: ${consumers.join(" ")}`),
        ]);
    };
    expect(await consumersOf(seeded(() => densenet(sizes)))).toEqual([
      ["stage 1", "0: w_1 w_2 w_3 w_T", "1: w_2 w_3 w_T", "2: w_3 w_T"],
      ["stage 2", "0: w_1 w_2 out", "1: w_2 out"],
    ]);
    // What leaves the stage goes out, even where another part of the stage lies behind.
    const paths = ["features.denseblock1", "features.denseblock2"];
    expect(
      await consumersOf(
        seeded(() => densenet(sizes)),
        [{ name: "gap", paths }],
      ),
    ).toEqual([
      ["gap", "0: w_1 w_2 w_3 out", "1: w_2 w_3 out", "2: w_3 out", "0a: w_4 w_5 out", "4: w_5 out"],
    ]);
    expect(await consumersOf(seeded(() => cspDenseNet({ ...sizes, fusion: "first" })))).toEqual([
      ["stage 1", "0'': w_1 w_2 w_3 w_U", "1: w_2 w_3 w_U", "2: w_3 w_U"],
      ["stage 2", "0'': w_1 w_2 w_U", "1: w_2 w_U"],
    ]);
  });

  it("names a sum by the layers that read it, briefly where they are many", async () => {
    const blocks = Array.from({ length: 30 }, () => new ResidualBlock(4));
    const chain = new Chain([new Conv2d(1, 4, 1), ...blocks], 4);
    const sums: Tensor[] = [];
    for (const block of blocks)
      block.registerForwardHook((_module, _inputs, output) => void sums.push(output.retainGrad()));
    const images = batch();
    const recorder = new GradientRecorder(chain, [{ name: "residual", paths: [""] }]);
    recorder.step(0, images, () => mean(square(chain.forward(images))).backward());
    await recorder.flush();
    const { maps } = recorder.measured()[0];
    // x_1, the stem's output, is read by the first block's branch and stays in every sum behind it.
    expect(maps[0]).toMatchObject({ map: "1", consumers: ["w_2", "w_4+…+w_60"] });
    // Layers are 1, then 2 and 3 of the first block, and so on: x_59 is the next-to-last block's branch.
    expect(maps.at(-1)).toMatchObject({ map: "59", consumers: ["w_60", "out"] });
    expect(maps.flatMap(({ consumers }) => consumers).every((name) => name.length <= 64)).toBe(true);
    expect(maps.length).toBe(30);
    // The pieces at a block's sum add up to the gradient of its output.
    maps.slice(1).forEach(({ samples: [{ norms, sharedEnergy }] }, i) => {
      const gradient = Float64Array.from(sums[i].grad?.dataSync() ?? []);
      const energy = norms.reduce<number>((total, norm) => total + (norm ?? NaN) ** 2, 0);
      expect(((sharedEnergy ?? NaN) * norms.length * energy) / dot(gradient, gradient)).toBeCloseTo(1, 4);
    });
  });

  it("gives the last layer of a block that is the whole model its number", async () => {
    const block = new DenseBlock(2, 2, { growthRate: 2 });
    const images = randn([2, 2, 4, 4], { requiresGrad: true });
    const recorder = new GradientRecorder(block, [{ name: "block", paths: [""] }]);
    recorder.step(0, images, () => mean(square(block.forward(images))).backward());
    await recorder.flush();
    expect(recorder.measured()[0].maps.map(({ map, consumers }) => `${map}: ${consumers.join(" ")}`)).toEqual(
      ["0: w_1 w_2 out", "1: w_2 out"],
    );
  });

  it("samples every so many steps, and refuses a number that is none", async () => {
    const network = seeded(() => densenet(sizes));
    const recorder = new GradientRecorder(network, network.stages, { everySteps: 3 });
    const images = batch();
    const body = (step: number) => {
      lossOf(network, images).backward();
      return step;
    };
    for (let step = 0; step < 8; step++) expect(recorder.step(step, images, () => body(step))).toBe(step);
    expect(() => recorder.measured()).toThrow("3 sampled steps (the last is step 6) were not read yet");
    await recorder.flush();
    for (const { maps } of recorder.measured())
      for (const { samples } of maps) expect(samples.map(({ step }) => step)).toEqual([0, 3, 6]);
    for (const everySteps of [0, -1, 1.5, NaN])
      expect(() => new GradientRecorder(network, [], { everySteps })).toThrow(
        `everySteps ${everySteps} must be`,
      );
  });

  it.each(networks)("leaves the training of a %s as it is, to the last bit", (_, build) => {
    const train = (everySteps: number | null) => {
      const network = seeded(() => build());
      const optimizer = new SGD(network.parameters(), { lr: 0.1, momentum: 0.9 });
      const recorder = everySteps && new GradientRecorder(network, network.stages, { everySteps });
      for (let step = 0; step < 10; step++)
        scope(() => {
          const images = batch("f32", step);
          optimizer.zeroGrad();
          const body = () => lossOf(network, images).backward();
          if (recorder) recorder.step(step, images, body);
          else body();
          optimizer.step();
        });
      return [...network.stateDict()].map(([name, value]) => [name, Array.from(value.dataSync())]);
    };
    const plain = train(null);
    expect(train(1)).toEqual(plain);
    expect(train(4)).toEqual(plain);
  });

  it("leaves no memory behind", async () => {
    const network = seeded(() => cspDenseNet(sizes));
    const recorder = new GradientRecorder(network, network.stages, { everySteps: 2 });
    const live: number[] = [];
    for (let step = 0; step < 7; step++) {
      scope(() => {
        const images = batch();
        network.zeroGrad();
        recorder.step(step, images, () => lossOf(network, images).backward());
      });
      await recorder.flush();
      live.push(memoryReport().liveBytes);
    }
    expect(new Set(live).size).toBe(1);
  });

  it("listens to nothing once a step is over, even one that failed", () => {
    const network = seeded(() => densenet(sizes));
    const recorder = new GradientRecorder(network, network.stages);
    const images = batch();
    expect(() =>
      recorder.step(0, images, () => {
        throw new Error("out of data");
      }),
    ).toThrow("out of data");
    expect([hasOpListeners(), hasEdgeListeners()]).toEqual([false, false]);
    recorder.step(1, images, () => lossOf(network, images).backward());
    expect([hasOpListeners(), hasEdgeListeners()]).toEqual([false, false]);
  });
});
