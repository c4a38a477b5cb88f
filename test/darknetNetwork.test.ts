/** Networks made from cfg files compute what OpenCV and Darknet compute, by their names, and in little memory. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import * as fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { noGrad } from "../src/autograd/index.ts";
import { cost, trace } from "../src/graph/index.ts";
import {
  darknetCosts,
  darknetModel,
  exportOnnx,
  importOnnx,
  loadDarknetWeights,
  readCfg,
} from "../src/io/index.ts";
import { BatchNorm2d, foldForInference } from "../src/nn/index.ts";
import { randn, tensor, zeros } from "../src/tensor/create.ts";
import { memoryReport, resetPeakMemory } from "../src/tensor/runtime.ts";
import { scope } from "../src/tensor/scope.ts";
import type { Tensor } from "../src/tensor/tensor.ts";

const fixtures = path.join(import.meta.dirname, "fixtures/darknet");
const folder = mkdtempSync(path.join(tmpdir(), "darknet-"));
afterAll(() => rmSync(folder, { recursive: true }));

const cfgText = (name: string) => readFileSync(path.join(fixtures, `${name}.cfg`), "utf8");

interface EncodedMap {
  readonly shape: readonly number[];
  readonly data: string;
}

interface Fixture {
  readonly weights: string;
  readonly input: EncodedMap;
  readonly outputs: readonly (EncodedMap & { readonly layer: number })[];
}

function floats(base64: string): Float32Array {
  return new Float32Array(new Uint8Array(Buffer.from(base64, "base64")).buffer);
}

/** The largest difference, relative to the largest expected value. */
function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(actual.length).toBe(expected.length);
  let [difference, scale] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    difference = Math.max(difference, Math.abs(actual[i] - expected[i]));
    scale = Math.max(scale, Math.abs(expected[i]));
  }
  return difference / scale;
}

describe("against other programs", () => {
  // blocks and detector: OpenCV 4.6's; shortcuts: Darknet's own. Both add 1e-6 to the variance or its root.
  it.each(["blocks", "detector", "shortcuts"])("%s.cfg gives their outputs", async (name) => {
    const fixture: Fixture = JSON.parse(readFileSync(path.join(fixtures, `${name}.json`), "utf8"));
    const file = path.join(folder, `${name}.weights`);
    writeFileSync(file, Buffer.from(fixture.weights, "base64"));
    const model = darknetModel(readCfg(cfgText(name)), { eps: 1e-6 }).eval();
    const header = await loadDarknetWeights(model, file);
    expect(header).toEqual({ major: 0, minor: 2, revision: 5, seen: 32013312n });
    const input = tensor(floats(fixture.input.data), { shape: fixture.input.shape });
    const layers = fixture.outputs.map(({ layer }) => layer);
    const maps = noGrad(() => model.featureMaps(input, layers));
    fixture.outputs.forEach(({ shape, data }, i) => {
      expect(maps[i].shape).toEqual(shape);
      expect(relativeError(maps[i].dataSync(), floats(data))).toBeLessThan(5e-6);
    });
  });
});

/** A network of the given sections behind an image of these sizes. */
function network(channels: number, height: number, width: number, sections: string) {
  return darknetModel(
    readCfg(`[net]\nchannels=${channels}\nheight=${height}\nwidth=${width}\n${sections}`),
  ).eval();
}

/** Numbers that are all different, [1, ...shape]. */
function counting(...shape: number[]): Tensor {
  const size = shape.reduce((product, extent) => product * extent, 1);
  return tensor(
    Float32Array.from({ length: size }, (_, i) => ((i * 37) % size) - size / 2),
    { shape: [1, ...shape] },
  );
}

const values = (x: Tensor) => Array.from(x.dataSync());

describe("layers by Darknet's loops", () => {
  it("a shortcut adds what shortcut_cpu adds, whatever the sizes and channels", () => {
    const side = fc.integer({ min: 1, max: 4 });
    fc.assert(
      fc.property(
        side,
        side,
        side,
        fc.integer({ min: 1, max: 3 }),
        fc.boolean(),
        (c1, c2, extent, ratio, larger) => {
          const [h, w] = [extent, extent + 1];
          const sections = `[convolutional]\nfilters=${c1}\nactivation=linear\n`;
          const resize = larger ? `[upsample]\nstride=${ratio}\n` : `[maxpool]\nsize=1\nstride=${ratio}\n`;
          const model = network(
            3,
            h * (larger ? 1 : ratio),
            w * (larger ? 1 : ratio),
            `${sections}${resize}[convolutional]\nfilters=${c2}\nactivation=linear\n[shortcut]\nfrom=0\n`,
          );
          const [, W0, H0] = [0, model.plan.inputShape[2], model.plan.inputShape[1]];
          const [added, before, sum] = noGrad(() => model.featureMaps(randn([1, 3, H0, W0]), [0, 2, 3]));
          const [h1, w1] = added.shape.slice(2);
          const [h2, w2] = before.shape.slice(2);
          const out = values(before);
          const add = values(added);
          const stride = Math.max(1, Math.floor(w1 / w2));
          const sample = Math.max(1, Math.floor(w2 / w1));
          for (let k = 0; k < Math.min(c1, c2); k++)
            for (let j = 0; j < Math.min(h1, h2); j++)
              for (let i = 0; i < Math.min(w1, w2); i++)
                out[i * sample + w2 * (j * sample + h2 * k)] += add[i * stride + w1 * (j * stride + h1 * k)];
          expect(relativeError(values(sum), out)).toBeLessThan(1e-6);
        },
      ),
      { numRuns: 60 },
    );
  });

  /** reorg_cpu of Darknet's blas.c, for one image. */
  function reorgLoops(
    x: readonly number[],
    [c, h, w]: readonly number[],
    s: number,
    forward: boolean,
  ): number[] {
    const out = new Array<number>(x.length).fill(0);
    const inner = c / (s * s);
    for (let k = 0; k < c; k++)
      for (let j = 0; j < h; j++)
        for (let i = 0; i < w; i++) {
          const inIndex = i + w * (j + h * k);
          const offset = Math.floor(k / inner);
          const w2 = i * s + (offset % s);
          const h2 = j * s + Math.floor(offset / s);
          const outIndex = w2 + w * s * (h2 + h * s * (k % inner));
          if (forward) out[outIndex] = x[inIndex];
          else out[inIndex] = x[outIndex];
        }
    return out;
  }

  it.each([
    ["reorg", 0, [8, 4, 6], 2, [8, 4, 6], [32, 2, 3]],
    ["reorg", 1, [8, 4, 3], 2, [8, 4, 3], [2, 8, 6]],
    ["reorg", 0, [9, 3, 6], 3, [9, 3, 6], [81, 1, 2]],
    ["reorg3d", 0, [3, 4, 6], 2, [12, 2, 3], [12, 2, 3]],
    ["reorg3d", 1, [16, 2, 3], 2, [4, 4, 6], [4, 4, 6]],
  ])("%s with reverse=%i of %j", (kind, reverse, input, stride, loopSizes, shape) => {
    const [channels, height, width] = input;
    const model = network(channels, height, width, `[${kind}]\nstride=${stride}\nreverse=${reverse}\n`);
    const x = counting(...input);
    const y = noGrad(() => model.forward(x));
    expect(y.shape).toEqual([1, ...shape]);
    expect(values(y)).toEqual(reorgLoops(values(x), loopSizes, stride, reverse === 1));
  });

  it("pools look at windows from -padding/2 on, and averages count what lies inside", () => {
    const dimension = fc.integer({ min: 1, max: 7 });
    const small = fc.integer({ min: 1, max: 4 });
    fc.assert(
      fc.property(dimension, dimension, small, small, small, fc.boolean(), (h, w, size, sx, sy, mean) => {
        const kind = mean ? "local_avgpool" : "maxpool";
        const model = network(2, h, w, `[${kind}]\nsize=${size}\nstride_x=${sx}\nstride_y=${sy}\n`);
        const x = counting(2, h, w);
        const y = noGrad(() => model.forward(x));
        const pad = size - 1;
        const [P, Q] = [Math.floor((h + pad - size) / sy) + 1, Math.floor((w + pad - size) / sx) + 1];
        expect(y.shape).toEqual([1, 2, P, Q]);
        const from = -Math.floor(pad / 2);
        const expected: number[] = [];
        for (let c = 0; c < 2; c++)
          for (let p = 0; p < P; p++)
            for (let q = 0; q < Q; q++) {
              const taps: number[] = [];
              for (let r = 0; r < size; r++)
                for (let s = 0; s < size; s++) {
                  const [i, j] = [from + p * sy + r, from + q * sx + s];
                  if (i >= 0 && i < h && j >= 0 && j < w) taps.push(x.dataSync()[(c * h + i) * w + j]);
                }
              expected.push(mean ? taps.reduce((a, b) => a + b, 0) / taps.length : Math.max(...taps));
            }
        values(y).forEach((value, i) => void expect(value).toBeCloseTo(expected[i], 4));
      }),
      { numRuns: 60 },
    );
  });

  it("maxout takes the largest of channels out_channels apart", () => {
    const model = network(6, 1, 2, "[maxpool]\nmaxpool_depth=1\nout_channels=2\nsize=1\n");
    const x = tensor(new Float32Array([1, 2, 3, 4, 9, 6, 7, 8, 5, 0, 0, 0]), { shape: [1, 6, 1, 2] });
    expect(values(noGrad(() => model.forward(x)))).toEqual([9, 6, 7, 8]);
  });

  it("dilation spreads the taps and keeps the size", () => {
    const model = network(1, 5, 6, "[convolutional]\nsize=3\npad=1\ndilation=2\nactivation=linear\n");
    const x = counting(1, 5, 6);
    const weight = model.namedParameters().get("layers.0.conv.weight");
    const bias = model.namedParameters().get("layers.0.conv.bias");
    const [w, b] = [values(weight ?? x), values(bias ?? x)];
    const at = (i: number, j: number) => (i >= 0 && i < 5 && j >= 0 && j < 6 ? x.dataSync()[i * 6 + j] : 0);
    const expected: number[] = [];
    for (let i = 0; i < 5; i++)
      for (let j = 0; j < 6; j++)
        expected.push(
          w.reduce(
            (sum, tap, k) => sum + tap * at(i + 2 * (Math.floor(k / 3) - 1), j + 2 * ((k % 3) - 1)),
            b[0],
          ),
        );
    const y = noGrad(() => model.forward(x));
    expect(relativeError(values(y), expected)).toBeLessThan(1e-5);
  });

  it("softmax is over all inputs, over groups of them, or over the channels of each pixel", () => {
    const x = randn([2, 4, 1, 3]);
    const sums = (keys: string, [groups, size]: readonly [number, number], step = 1) => {
      const y = values(noGrad(() => network(4, 1, 3, `[softmax]\n${keys}`).forward(x)));
      return Array.from({ length: groups }, (_, g) =>
        Array.from({ length: size }, (_, i) => y[step === 1 ? g * size + i : g + i * step]).reduce(
          (a, b) => a + b,
          0,
        ),
      );
    };
    for (const sum of sums("", [2, 12])) expect(sum).toBeCloseTo(1, 5);
    for (const sum of sums("groups=3\n", [6, 4])) expect(sum).toBeCloseTo(1, 5);
    for (const sum of sums("spatial=1\n", [3, 4], 3)) expect(sum).toBeCloseTo(1, 5);
  });

  it("activations have Darknet's formulas", () => {
    const formulas: readonly (readonly [string, (x: number) => number])[] = [
      ["linear", (x) => x],
      ["logistic", (x) => 1 / (1 + Math.exp(-x))],
      ["loggy", (x) => 2 / (1 + Math.exp(-x)) - 1],
      ["relu", (x) => Math.max(0, x)],
      ["relu6", (x) => Math.min(6, Math.max(0, x))],
      ["relie", (x) => (x > 0 ? x : 0.01 * x)],
      ["ramp", (x) => Math.max(0, x) + 0.1 * x],
      ["leaky", (x) => (x > 0 ? x : 0.1 * x)],
      ["elu", (x) => (x >= 0 ? x : Math.exp(x) - 1)],
      ["selu", (x) => 1.0507 * (x >= 0 ? x : 1.6732 * (Math.exp(x) - 1))],
      ["tanh", Math.tanh],
      ["hardtan", (x) => Math.min(1, Math.max(-1, x))],
      ["swish", (x) => x / (1 + Math.exp(-x))],
      ["mish", (x) => x * Math.tanh(Math.log1p(Math.exp(x)))],
      ["hard_mish", (x) => (x > 0 ? x : x > -2 ? (x * x) / 2 + x : 0)],
    ];
    const x = tensor(new Float32Array([-200, -9, -2, -1.5, -0.3, 0, 0.4, 1, 3, 6.5, 88]), {
      shape: [1, 1, 1, 11],
    });
    const zero = zeros([1, 1, 1, 11]);
    for (const [name, formula] of formulas) {
      // A shortcut from a copy of the image onto half of it: x/2 + x/2, then the activation alone.
      const model = network(
        1,
        1,
        11,
        `[upsample]\nstride=1\nscale=0.5\n[upsample]\nstride=1\n[shortcut]\nfrom=0\nactivation=${name}\n`,
      );
      const y = values(noGrad(() => model.forward(x)));
      values(x).forEach((value, i) => void expect(y[i], `${name}(${value})`).toBeCloseTo(formula(value), 4));
      expect(values(noGrad(() => model.forward(zero)))[0]).toBe(formula(0));
    }
  });
});

describe("DarknetNetwork", () => {
  const every = () => darknetModel(readCfg(cfgText("every-section")));

  it("names parameters and statistics by layer index", () => {
    const names = [...every().stateDict().keys()].filter((name) => /^layers[.](0|17|24)[.]/.test(name));
    expect(names).toEqual([
      ...["conv.weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"].map(
        (name) => `layers.0.${name}`,
      ),
      ...[
        "layers.0.norm.num_batches_tracked",
        "layers.17.conv.weight",
        "layers.17.conv.bias",
        "layers.24.linear.weight",
      ],
      ...["weight", "bias", "running_mean", "running_var", "num_batches_tracked"].map(
        (name) => `layers.24.norm.${name}`,
      ),
    ]);
    const norm = every().namedModules().get("layers.0.norm");
    expect(norm).toBeInstanceOf(BatchNorm2d);
    expect(norm).toMatchObject({ eps: 1e-5, momentum: 0.01 });
  });

  it("gives the last output, feature maps by index, and the raw maps of all heads", () => {
    const model = every().eval();
    const x = randn([2, 3, 32, 32]);
    const [y, maps, heads] = noGrad(() => [
      model.forward(x),
      model.featureMaps(x, [27, -1, 4, 4]),
      model.detectionMaps(x),
    ]);
    expect(y.shape).toEqual([2, 10, 1, 1]);
    expect(values(maps[0])).toEqual(values(y));
    expect(maps[1]).toBe(x);
    expect(maps[2]).toBe(maps[3]);
    expect(model.detectionLayers()).toEqual([18, 21]);
    expect(heads.map(({ shape }) => shape)).toEqual([
      [2, 14, 16, 16],
      [2, 7, 8, 8],
    ]);
  });

  it("refuses layers that are not there and images of other channels", () => {
    const model = every().eval();
    expect(() => model.featureMaps(zeros([1, 3, 32, 32]), [28])).toThrow(
      "there is no layer 28; it has 0 to 27",
    );
    expect(() => model.forward(zeros([1, 4, 32, 32]))).toThrow("input [1, 4, 32, 32] must be [N, 3, H, W]");
  });

  it("trains: every layer that the loss depends on has a gradient", () => {
    const model = every();
    const loss = model
      .forward(randn([2, 3, 32, 32]))
      .square()
      .sum();
    loss.backward();
    const without = [...model.namedParameters()].filter(([, { grad }]) => !grad).map(([name]) => name);
    expect(without).toEqual(
      ["17.conv.weight", "17.conv.bias", "20.conv.weight", "20.conv.bias"].map((name) => `layers.${name}`),
    );
  });

  it("copies, and folds its norms for inference", () => {
    const model = every().eval();
    const x = randn([1, 3, 32, 32]);
    const [y, folded] = noGrad(() => [model.forward(x), foldForInference(model).forward(x)]);
    expect(relativeError(values(folded), values(y))).toBeLessThan(1e-5);
  });

  it("goes into an ONNX file and comes back", async () => {
    const model = every().eval();
    const x = randn([1, 3, 32, 32]);
    const again = await importOnnx(exportOnnx(model, x));
    expect(values(noGrad(() => again.forward(x)))).toEqual(values(noGrad(() => model.forward(x))));
  });

  it("keeps no map longer than a layer needs it, and leaves nothing behind", () => {
    const layers = "[convolutional]\nfilters=4\nsize=3\npad=1\nactivation=leaky\n".repeat(20);
    const model = network(4, 32, 32, layers);
    const x = randn([1, 4, 32, 32]);
    const bytes = 4 * 4 * 32 * 32;
    const before = memoryReport().liveBytes;
    resetPeakMemory();
    scope(() => void noGrad(() => model.forward(x)));
    expect(memoryReport().liveBytes).toBe(before);
    // A convolution's input, its output, and that of its activation.
    expect(memoryReport().peakBytes - before).toBeLessThanOrEqual(3 * bytes);
  });

  it("frees no map that is still to be read, kept by a hook, or the caller's", () => {
    const model = every().eval();
    const kept: Tensor[] = [];
    const remove = model.layers[0].registerForwardHook((_module, _inputs, output) => {
      kept.push(output.keep());
      return undefined;
    });
    const x = randn([1, 3, 32, 32]);
    const [plain] = model.featureMaps(x, [0]);
    scope(() => void noGrad(() => model.forward(x)));
    remove();
    expect(values(kept[1])).toEqual(values(plain));
    expect(values(x)).toHaveLength(3072);
  });

  it("costs on its traced graph what the cfg says", () => {
    const model = every();
    const counted = darknetCosts(model.cfg);
    const traced = cost(trace(model, [1, 3, 32, 32]));
    expect(traced.parameters).toBe(counted.trained);
    // Darknet counts no operations of its two connected layers, 288 to 12 to 10, and CIO is of convolutions.
    expect(traced.convInputOutput).toBe(counted.convInputOutput + (288 + 12) + (12 + 10));
    expect(traced.flopsPerImage).toBe(Math.round(counted.convBflops * 1e9) + 2 * (288 * 12 + 12 * 10));
  });
});
