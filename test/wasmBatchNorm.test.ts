/**
 * The WebAssembly batch norm against its plain definition in f64, over odd, prime and tiny planes in every layout:
 * dense, channel slices of wider memory, rows with gaps, permuted (left to the loops). Memory around the operands is
 * NaN, so whatever a kernel reads beyond them shows. Bounds follow from the number of f32 roundings.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { HostView } from "../src/backends/backend.ts";
import { loops } from "../src/backends/cpu/loops/index.ts";
import { batchNormKernels, fewestValues } from "../src/backends/cpu/wasm/kernels/batchNorm.ts";
import { channelKernels } from "../src/backends/cpu/wasm/kernels/channels.ts";
import { sumKernels, sumRoundings } from "../src/backends/cpu/wasm/kernels/sums.ts";
import { batchNorm, batchStatistics, Generator, grad, randn, type Tensor } from "../src/index.ts";
import {
  dense,
  inputView,
  makeInputs,
  outputView,
  plain,
  plainSetting,
  type Setting,
  setting,
  size,
} from "./hostViews.ts";
import { poisonFreedMemory } from "./support/poison.ts";
import { arithmetics, counting, expectCalls, expectWithin, unit, workplace } from "./support/sharedViews.ts";

const epsilon = 1e-5;
/** Planes shorter than a vector, of every length around one, 7 x 7 and 14 x 14, and longer than a chunk of f32 sums. */
const extent = fc.constantFrom(1, 1, 2, 3, 4, 5, 7, 8, 13, 14, 17, 31);
const shape4 = fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 4 }), extent, extent);
const drawn = { numRuns: 200 };
const sizes: readonly (readonly number[])[] = [
  [1, 1, 1, 1],
  [5, 3, 1, 1],
  [2, 3, 7, 7],
  [2, 2, 14, 14],
  [3, 2, 1, 257],
  [2, 1, 31, 33],
];

/** Whether a kernel may leave these images to the loops. */
const isForLoops = (images: readonly HostView[]): boolean =>
  images.some(({ dtype, shape, strides }) => dtype !== "f32" || (shape[3] !== 1 && strides[3] !== 1));
const channelOf = (i: number, [, C, H, W]: readonly number[]) => Math.floor(i / (H * W)) % C;

describe.each(arithmetics)("WebAssembly batch norm, fused %s", (fused) => {
  const { runtime, share, clear } = workplace(fused);
  const fallback = counting({
    batchStatistics: loops.batchStatistics,
    batchNorm: loops.batchNorm,
    batchNormSums: loops.batchNormSums,
    batchNormInputGradient: loops.batchNormInputGradient,
  });
  const kernels = batchNormKernels(runtime, sumKernels(runtime), channelKernels(runtime), fallback.kernels);

  function statisticsFor(C: number, s: Setting): HostView {
    const view = inputView([2, C], s.dtype, s.plans[2], s.seed + 7);
    view.data.forEach((value, i) => {
      view.data[i] = Math.abs(value) + 0.1;
    });
    return view;
  }

  /** Bounds of one channel: 3 (roundings + 3) for sums of d and d², times 17 for the worst shift that is kept. */
  function checkStatistics(images: HostView, { dtype, plans }: Setting): void {
    clear();
    const x = share(images);
    const [, C] = x.shape;
    const output = share(outputView([2, C], dtype, plans[1]));
    const values = dense(x);
    const expected: number[] = [];
    const allowed: number[] = [];
    for (let c = 0; c < C; c++) {
      const channel = Array.from(values.filter((_, i) => channelOf(i, x.shape) === c));
      const mean = channel.reduce((a, b) => a + b, 0) / channel.length;
      const variance = channel.reduce((a, b) => a + (b - mean) ** 2, 0) / channel.length;
      const largest = Math.max(...channel.map(Math.abs));
      const range = Math.max(...channel) - Math.min(...channel);
      [expected[c], expected[C + c]] = [mean, variance];
      allowed[c] = unit * ((sumRoundings + 4) * range + 2 * largest);
      allowed[C + c] =
        unit * 3 * (sumRoundings + 3) * (17 * variance + (4 * unit * largest) ** 2) +
        (dtype === "f64" ? 0 : 2 ** -149);
    }
    kernels.batchStatistics([x], output, {});
    expectWithin(output, expected, allowed);
    expectCalls(fallback, isForLoops([x]), "loops for statistics");
  }

  it("batchStatistics is mean and biased variance per channel", () => {
    const check = (shape: readonly number[], s: Setting) => checkStatistics(makeInputs([shape], s)[0], s);
    fc.assert(fc.property(shape4, setting, check), drawn);
    for (const shape of sizes) check(shape, plainSetting);
  });

  it("batchStatistics keeps the digits of a small variance around a large mean", () => {
    for (const mean of [1e4, -1e6, 3e-4]) {
      clear();
      const x = inputView([16, 2, 15, 15], "f32", plain, 3);
      x.data.forEach((value, i) => {
        x.data[i] = value * Math.sqrt(3) + mean;
      });
      const output = share(outputView([2, 2], "f32", plain));
      kernels.batchStatistics([share(x)], output, {});
      const exact = outputView([2, 2], "f64", plain);
      loops.batchStatistics([x], exact, {});
      for (const c of [0, 1]) {
        expect(Math.abs(output.data[c] - exact.data[c])).toBeLessThan(2e-6 * (1 + Math.abs(mean)));
        expect(Math.abs(output.data[2 + c] / exact.data[2 + c] - 1)).toBeLessThan(1e-4);
      }
    }
  });

  it("batchStatistics of a channel are the same whatever the others hold", () => {
    const x = inputView([3, 4, 5, 7], "f32", plain, 6);
    const alone = share(outputView([2, 4], "f32", plain));
    kernels.batchStatistics([share(x)], alone, {});
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
      x.data[2 * 35 + 3] = value;
      const output = share(outputView([2, 4], "f32", plain));
      kernels.batchStatistics([share(x)], output, {});
      for (const i of [0, 1, 3, 4, 5, 7]) expect(output.data[i]).toBe(alone.data[i]);
      for (const i of [2, 6]) expect(output.data[i]).not.toBe(alone.data[i]);
    }
    clear();
  });

  it("batchStatistics has a mean where squares are beyond f32, and the loops' answers to infinities", () => {
    const x = inputView([3, 4, 5, 7], "f32", plain, 6);
    x.data.forEach((value, i) => {
      if (i % 140 < 35) x.data[i] = 1e30 * value;
      else if (i % 140 < 70) x.data[i] = i < 140 ? 3e38 : -3e38;
    });
    [x.data[2 * 35 + 3], x.data[3 * 35 + 3], x.data[3 * 35 + 4]] = [Infinity, Infinity, -Infinity];
    const output = share(outputView([2, 4], "f32", plain));
    kernels.batchStatistics([share(x)], output, {});
    const wanted = outputView([2, 4], "f32", plain);
    loops.batchStatistics([x], wanted, {});
    expect(Math.abs(output.data[0] / wanted.data[0] - 1)).toBeLessThan(1e-6);
    expect(Math.abs(output.data[1] / -1e38 - 1)).toBeLessThan(1e-6);
    expect([...output.data].slice(2)).toEqual([...wanted.data].slice(2));
    expectCalls(fallback, false, "loops for statistics");
    clear();
  });

  it("batchStatistics is not misled by a first image unlike the others", () => {
    const x = inputView([40, 2, 7, 7], "f32", plain, 4);
    x.data.forEach((value, i) => {
      x.data[i] = i < 98 ? 0 : 1e3 + value * 1e-2;
    });
    checkStatistics(x, plainSetting);
    x.data.fill(1.1);
    x.data[97] = 5e5;
    checkStatistics(x, plainSetting);
  });

  it("batchStatistics reads a channel again when its first image hid the variance", () => {
    // One value of 20,000 is 0, the first; the square of the others rounds by nearly half a bit, always down.
    const N = 20_000;
    const x = inputView([N, 1, 1, 1], "f32", plain, 1);
    const value = 1 + 2049 * 2 ** -23;
    x.data.fill(value, 1);
    x.data[0] = 0;
    const output = share(outputView([2, 1], "f32", plain));
    kernels.batchStatistics([share(x)], output, {});
    const variance = (value ** 2 * (N - 1)) / N ** 2;
    expect(Math.abs(output.data[1] / variance - 1)).toBeLessThan(1e-5);
    clear();
  });

  it("equal values have the variance 0 and their own mean", () => {
    for (const value of [0, 0.1, -12345.678, 1e-20]) {
      const x = inputView([3, 1, 7, 11], "f32", plain, 1);
      x.data.fill(value);
      const output = share(outputView([2, 1], "f32", plain));
      kernels.batchStatistics([share(x)], output, {});
      expect(Array.from(output.data)).toEqual([Math.fround(value), 0]);
    }
  });

  it("batchNorm normalises, scales and shifts", () => {
    const check = (shape: readonly number[], s: Setting) => {
      clear();
      const C = shape[1];
      const inputs = [...makeInputs([shape, [C], [C]], s), statisticsFor(C, s)].map(share);
      const output = share(outputView(shape, s.dtype, s.plans[3]));
      const [xs, weights, biases, statistics] = inputs.map(dense);
      const expected: number[] = [];
      const allowed: number[] = [];
      for (const [i, x] of xs.entries()) {
        const c = channelOf(i, shape);
        const scaled = ((x - statistics[c]) * weights[c]) / Math.sqrt(statistics[C + c] + epsilon);
        expected.push(scaled + biases[c]);
        // The difference, the scale, the product; and the sum.
        allowed.push(unit * (4 * Math.abs(scaled) + Math.abs(biases[c]) + 2 ** -100));
      }
      kernels.batchNorm(inputs, output, { epsilon });
      expectWithin(output, expected, allowed);
      expectCalls(fallback, isForLoops([inputs[0], output]), "loops for batchNorm");
    };
    fc.assert(fc.property(shape4, setting, check), drawn);
    for (const shape of sizes) check(shape, plainSetting);
  });

  it("batchNormSums are the gradients of bias and weight", () => {
    const check = (shape: readonly number[], s: Setting) => {
      clear();
      const C = shape[1];
      const inputs = [...makeInputs([shape, shape], s), statisticsFor(C, s)].map(share);
      const output = share(outputView([2, C], s.dtype, s.plans[3]));
      const [xs, grads, statistics] = inputs.map(dense);
      const expected: number[] = Array(2 * C).fill(0);
      const sizes: number[] = Array(2 * C).fill(0);
      for (const [i, g] of grads.entries()) {
        const c = channelOf(i, shape);
        const product = (g * (xs[i] - statistics[c])) / Math.sqrt(statistics[C + c] + epsilon);
        expected[c] += g;
        expected[C + c] += product;
        sizes[c] += Math.abs(g);
        sizes[C + c] += Math.abs(product);
      }
      kernels.batchNormSums(inputs, output, { epsilon });
      // The difference, the product, the sums, the result.
      expectWithin(
        output,
        expected,
        sizes.map((magnitude) => unit * (sumRoundings + 4) * magnitude),
      );
      expectCalls(fallback, isForLoops([inputs[0], inputs[1]]), "loops for batchNormSums");
    };
    fc.assert(fc.property(shape4, setting, check), drawn);
    for (const shape of sizes) check(shape, plainSetting);
  });

  it("batchNormInputGradient subtracts the mean gradient and its projection on xhat", () => {
    const check = (shape: readonly number[], s: Setting) => {
      clear();
      const C = shape[1];
      const M = size(shape) / C;
      const [x, gradient, weight, totals] = makeInputs([shape, shape, [C], [2, C]], s);
      const inputs = [x, weight, gradient, statisticsFor(C, s), totals].map(share);
      const output = share(outputView(shape, s.dtype, s.plans[3]));
      const [xs, weights, grads, statistics, sums] = inputs.map(dense);
      const expected: number[] = [];
      const allowed: number[] = [];
      for (const [i, g] of grads.entries()) {
        const c = channelOf(i, shape);
        const inverse = 1 / Math.sqrt(statistics[C + c] + epsilon);
        const scale = weights[c] * inverse;
        const terms = [
          scale * g,
          (-scale * sums[c]) / M,
          (-scale * (xs[i] - statistics[c]) * inverse * sums[C + c]) / M,
        ];
        expected.push(terms[0] + terms[1] + terms[2]);
        // Three roundings in the last term, and two sums.
        allowed.push(unit * 6 * terms.reduce((a, b) => a + Math.abs(b), 0));
      }
      kernels.batchNormInputGradient(inputs, output, { epsilon });
      expectWithin(output, expected, allowed);
      const images = [inputs[0], inputs[2], output];
      expectCalls(fallback, M < fewestValues || isForLoops(images), "loops for the gradient");
    };
    fc.assert(fc.property(shape4, setting, check), drawn);
    for (const shape of sizes) check(shape, plainSetting);
  });

  it("leaves what has no elements to the loops", () => {
    const x = share(inputView([2, 3, 0, 4], "f32", plain, 1));
    const output = share(outputView([2, 3], "f32", plain));
    kernels.batchStatistics([x], output, {});
    expect(Array.from(output.data)).toEqual(Array(6).fill(Number.NaN));
    fallback.calls = 0;
  });
});

describe("batch norm by the ops", () => {
  poisonFreedMemory();

  it("and its gradients agree with those of f64, in freed memory full of NaN", () => {
    const run = (dtype: "f32" | "f64", shape: readonly number[], wider: number, seed: number): Tensor[] => {
      const generator = new Generator(seed);
      const [N, C, H, W] = shape;
      const memory = randn([N, C + wider, H, W], { generator }).to(dtype);
      const weight = randn([C], { generator }).to(dtype);
      const bias = randn([C], { generator }).to(dtype);
      const x = memory.slice(1, wider, wider + C);
      const direction = randn(shape, { generator }).to(dtype);
      for (const tensor of [x, weight, bias]) tensor.requiresGrad = true;
      const y = batchNorm(x, weight, bias, { epsilon });
      return [batchStatistics(x), y, ...grad(y.mul(direction).sum(), [x, weight, bias])];
    };
    const images = fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 5 }), extent, extent);
    fc.assert(
      fc.property(images, fc.constantFrom(0, 3), fc.nat(1e6), ([N, C, H, W], wider, seed) => {
        // With fewer, the variance is so small that its rounding is all there is.
        fc.pre(N * H * W >= 8);
        const exact = run("f64", [N, C, H, W], wider, seed).map((tensor) => tensor.dataSync());
        for (const [t, tensor] of run("f32", [N, C, H, W], wider, seed).entries()) {
          const largest = Math.max(1, ...exact[t].map(Math.abs));
          for (const [i, value] of tensor.dataSync().entries())
            expect(Math.abs(value - exact[t][i])).toBeLessThan(1e-4 * largest);
        }
      }),
      { numRuns: 100 },
    );
  });
});
