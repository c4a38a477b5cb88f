/**
 * The WebAssembly maxima and softmax against their plain definitions, along any axes of shapes with odd, prime and
 * unit extents in every layout. Memory around the operands is NaN, so whatever a kernel reads beyond them shows.
 * Maxima are exact, with ties, infinities and NaNs planted everywhere; softmax is held to the errors that its file
 * states.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { HostView } from "../src/backends/backend.ts";
import { maxKernels } from "../src/backends/cpu/wasm/kernels/max.ts";
import { softmaxKernels } from "../src/backends/cpu/wasm/kernels/softmax.ts";
import {
  channelMaxout,
  crossEntropy,
  Generator,
  grad,
  logSumExp,
  randn,
  softmax,
  type Tensor,
  tensor,
} from "../src/index.ts";
import {
  dense,
  indices,
  makeInputs,
  outputView,
  plain,
  plainSetting,
  type Setting,
  setting,
  size,
} from "./hostViews.ts";
import { poisonFreedMemory } from "./support/poison.ts";
import { arithmetics, expectWithin, unit, workplace } from "./support/sharedViews.ts";

const extent = fc.constantFrom(1, 1, 2, 3, 4, 5, 7, 8, 9, 13, 17, 19, 33);
const shapes = fc.array(extent, { maxLength: 5 }).filter((shape) => size(shape) <= 3000);
const axesOf = fc.uniqueArray(fc.nat(4));

const reduced = (shape: readonly number[], axes: readonly number[]): number[] =>
  shape.map((n, axis) => (axes.includes(axis) ? 1 : n));

/** For each line, the flat positions of its elements in row-major order. */
function linesOf(shape: readonly number[], axes: readonly number[]): number[][] {
  const kept = reduced(shape, axes);
  const lines = Array.from({ length: size(kept) }, (): number[] => []);
  let flat = 0;
  for (const index of indices(shape)) {
    const line = index.reduce((at, i, axis) => at * kept[axis] + (axes.includes(axis) ? 0 : i), 0);
    lines[line].push(flat++);
  }
  return lines;
}

/** The first NaN, or else the first largest. */
function winnerOf(line: readonly number[], values: Float64Array): number {
  const firstNaN = line.find((at) => Number.isNaN(values[at]));
  if (firstNaN !== undefined) return firstNaN;
  const largest = line.reduce((most, at) => Math.max(most, values[at]), Number.NEGATIVE_INFINITY);
  return line.find((at) => values[at] === largest) ?? line[0];
}

/** Few distinct values, so that lines have ties, and some that are not finite. */
function makeTies(view: HostView, wild: boolean): void {
  view.data.forEach((value, i) => {
    const level = Math.round(value * 4);
    if (wild && level === 4) view.data[i] = i % 2 ? Number.NaN : Number.POSITIVE_INFINITY;
    else if (wild && level < -1) view.data[i] = Number.NEGATIVE_INFINITY;
    else view.data[i] = level / 4;
  });
}

const integers = (view: HostView): HostView => ({
  ...view,
  dtype: "i32",
  data: new Int32Array(view.data.buffer, view.data.byteOffset, view.data.length),
});

/** What kernels leave to the reference loops, which these tests do not need. */
function leaving(): { readonly reference: () => void; calls: number } {
  const counter = {
    calls: 0,
    reference: () => {
      counter.calls++;
    },
  };
  return counter;
}

describe("WebAssembly maxima", () => {
  const { runtime, share, clear } = workplace(false);
  const kernels = maxKernels(runtime);
  const left = leaving();

  function check(shape: readonly number[], axes: readonly number[], s: Setting, wild: boolean): boolean {
    clear();
    left.calls = 0;
    const kept = reduced(shape, axes);
    const [image, gradient, others] = makeInputs([shape, kept, shape], s);
    makeTies(image, wild);
    const [x, g, v] = [image, gradient, others].map(share);
    const [xs, gs, vs] = [x, g, v].map(dense);
    const lines = linesOf(shape, axes);
    const winners = lines.map((line) => winnerOf(line, xs));
    const exact = (count: number) => new Float64Array(count);
    const outputs = [kept, kept, shape].map((to, i) => share(outputView(to, s.dtype, s.plans[(i + 1) % 4])));
    const compare = (output: HostView, expected: readonly number[] | Float64Array) => {
      if (left.calls === 0) expectWithin(output, expected, exact(expected.length));
    };

    kernels.max([x], outputs[0], { axes }, left.reference);
    compare(
      outputs[0],
      winners.map((at) => xs[at]),
    );
    const gone = left.calls;
    left.calls = 0;
    kernels.maxPick([x, v], outputs[1], { axes }, left.reference);
    compare(
      outputs[1],
      winners.map((at) => vs[at]),
    );
    left.calls = 0;
    kernels.maxInputGradient([x, g], outputs[2], { axes }, left.reference);
    const spread = new Float64Array(xs.length);
    for (const [line, at] of winners.entries()) spread[at] = gs[line];
    compare(outputs[2], spread);
    if (axes.length === 1 && s.dtype === "f32") {
      left.calls = 0;
      const places = integers(share(outputView(kept, "f32", s.plans[0])));
      kernels.argmax([x], places, { axis: axes[0] }, left.reference);
      const expected = winners.map((at, line) => lines[line].indexOf(at));
      if (left.calls === 0) expect(Array.from(dense(places))).toEqual(expected);
    }
    return gone === 0;
  }

  it("and their gradients go to the first largest, along any axes, in any layout", () => {
    let taken = 0;
    fc.assert(
      fc.property(shapes, axesOf, setting, fc.boolean(), (shape, wanted, s, wild) => {
        const axes = wanted.filter((axis) => axis < shape.length);
        if (check(shape, axes, s, wild)) taken++;
      }),
      { numRuns: 800 },
    );
    expect(taken).toBeGreaterThan(200);
  });

  it.each([
    ["maxout over groups of channels", [2, 3, 5, 7, 7], [1]],
    ["maxout over groups of wide planes", [2, 4, 2, 14, 14], [1]],
    ["classes", [8, 1000], [1]],
    ["few classes", [7, 3], [1]],
    ["pixels", [2, 5, 7, 9], [2, 3]],
    ["images and pixels", [3, 5, 7, 9], [0, 2, 3]],
    ["images", [5, 3, 7], [0]],
    ["everything", [3, 5, 7], [0, 1, 2]],
    ["channels of one pixel", [3, 5, 1, 1], [1]],
    ["nothing", [3, 5], []],
  ])("over %s run in the kernel", (_, shape, axes) => {
    for (const wild of [false, true]) expect(check(shape, axes, plainSetting, wild)).toBe(true);
    const slice = { ...plain, before: [0, 3, 0, 0, 0], after: [0, 2, 0, 0, 0] };
    const s = { ...plainSetting, plans: [slice, plain, slice, plain] } satisfies Setting;
    if (shape.length === 4) expect(check(shape, axes, s, true)).toBe(true);
  });

  it("are left to the reference loops for f64 and where elements have gaps", () => {
    expect(check([4, 5], [1], { ...plainSetting, dtype: "f64" }, false)).toBe(false);
    const cropped = { ...plain, order: [1, 0, 2, 3, 4] };
    expect(check([4, 5], [1], { ...plainSetting, plans: [cropped, plain, plain, plain] }, false)).toBe(false);
  });
});

describe("WebAssembly softmax", () => {
  it.each(arithmetics)("is within the stated errors (fused arithmetic: %s)", (fused) => {
    const { runtime, share, clear } = workplace(fused);
    const kernels = softmaxKernels(runtime);
    const left = leaving();
    const tiny = 2 ** -149;
    let taken = 0;

    function check(
      shape: readonly number[],
      axis: number,
      extra: readonly number[],
      spread: number,
      s: Setting,
    ) {
      clear();
      left.calls = 0;
      const [input] = makeInputs([shape], s);
      input.data.forEach((value, i) => {
        input.data[i] = Math.fround(value * spread);
      });
      const x = share(input);
      const xs = dense(x);
      const kernel = ["softmax", "logSoftmax", "logSumExp"] as const;
      const axes = [...new Set([axis, ...extra])];
      for (const name of kernel) {
        const over = name === "logSumExp" ? axes : [axis];
        const lines = linesOf(shape, over);
        const to = name === "logSumExp" ? reduced(shape, over) : shape;
        const output = share(outputView(to, s.dtype, s.plans[1]));
        left.calls = 0;
        if (name === "logSumExp") kernels.logSumExp([x], output, { axes: over }, left.reference);
        else kernels[name]([x], output, { axis }, left.reference);
        if (left.calls > 0) continue;
        taken++;
        const expected = new Float64Array(size(to));
        const allowed = new Float64Array(size(to));
        for (const [l, line] of lines.entries()) {
          const largest = Math.max(...line.map((at) => xs[at]));
          const shift = name === "logSumExp" && Math.abs(largest) === Number.POSITIVE_INFINITY ? 0 : largest;
          const powers = line.map((at) => Math.exp(xs[at] - shift));
          const sum = powers.reduce((a, b) => a + b, 0);
          const errors = line.map((at, i) => powers[i] * (Math.abs(xs[at] - shift) + 2) || 0);
          // Relative, in units of one rounding.
          const errorOfSum = errors.reduce((a, b) => a + b, 0) / sum;
          const errorOfLog = errorOfSum + 2 * Math.abs(Math.log(sum));
          if (name === "logSumExp") {
            expected[l] = shift + Math.log(sum);
            allowed[l] = unit * (errorOfLog + Math.abs(expected[l])) + tiny;
            continue;
          }
          for (const [i, at] of line.entries()) {
            const distance = Math.abs(xs[at] - largest);
            expected[at] = name === "softmax" ? powers[i] / sum : xs[at] - largest - Math.log(sum);
            allowed[at] =
              name === "softmax"
                ? unit * (errors[i] / sum + expected[at] * (errorOfSum + 2)) + 2 * tiny
                : unit * (distance + errorOfLog + Math.abs(expected[at])) + tiny;
          }
        }
        expectWithin(output, expected, allowed);
      }
    }

    const spread = fc.constantFrom(1, 20, 300);
    fc.assert(
      fc.property(shapes, fc.nat(4), axesOf, spread, setting, (shape, axis, more, factor, s) => {
        if (axis >= shape.length) return;
        const extra = more.filter((other) => other < shape.length);
        check(shape, axis, extra, factor, s);
      }),
      { numRuns: 600 },
    );
    expect(taken).toBeGreaterThan(100);
    for (const [shape, axis] of [
      [[8, 1000], 1],
      [[7, 10], 1],
      [[2, 21, 9, 7], 1],
      [[1, 1], 1],
      [[5], 0],
    ] as const) {
      taken = 0;
      check(shape, axis, [], 20, plainSetting);
      expect(taken, `${shape} along ${axis}`).toBe(3);
    }
  });
});

describe("maxima and softmax by the ops", () => {
  poisonFreedMemory();

  it("agree with those of f64, in freed memory full of NaN", () => {
    const run = (dtype: "f32" | "f64", seed: number): Tensor[] => {
      const generator = new Generator(seed);
      const logits = randn([7, 11], { generator }).to(dtype);
      const image = randn([2, 6, 5, 3], { generator }).to(dtype);
      logits.requiresGrad = true;
      image.requiresGrad = true;
      const labels = tensor(
        Array.from({ length: 7 }, (_, i) => (i * 5 + seed) % 11),
        { dtype: "i32" },
      );
      const results = [crossEntropy(logits, labels, { labelSmoothing: 0.1 }), logSumExp(logits, 1).sum()];
      const scores = softmax(image, 1);
      const maxout = channelMaxout(image, 2);
      return [
        ...results.flatMap((y) => [y, ...grad(y, [logits])]),
        ...[scores, maxout].flatMap((y) => [y, ...grad(y.mul(y).sum(), [image])]),
      ];
    };
    for (let seed = 0; seed < 20; seed++) {
      const exact = run("f64", seed).map((result) => result.dataSync());
      for (const [t, result] of run("f32", seed).entries())
        for (const [i, value] of result.dataSync().entries())
          expect(Math.abs(value - exact[t][i])).toBeLessThan(1e-5);
    }
  });
});
