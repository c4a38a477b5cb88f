/**
 * The WebAssembly sums against the plain definition, over any axes of shapes with odd, prime and unit extents in every
 * layout. Memory around the operands is NaN, so whatever the kernel reads beyond them shows. However many elements
 * there are, each goes through at most `sumRoundings` roundings of f32, and one when the result is stored.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { HostView } from "../src/backends/backend.ts";
import { loops } from "../src/backends/cpu/loops/index.ts";
import { reduceKernels } from "../src/backends/cpu/wasm/kernels/reduce.ts";
import { sumKernels, sumRoundings } from "../src/backends/cpu/wasm/kernels/sums.ts";
import { Generator, randn } from "../src/index.ts";
import {
  dense,
  indices,
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

const extent = fc.constantFrom(0, 1, 1, 2, 3, 4, 5, 7, 13, 17, 19);
const shapes = fc.array(extent, { maxLength: 4 }).filter((shape) => size(shape) <= 5000);

describe("WebAssembly sums", () => {
  const { runtime, share, clear } = workplace(arithmetics[0]);
  const fallback = counting({ sum: loops.sum });
  const kernels = reduceKernels(runtime, sumKernels(runtime), fallback.kernels);

  function check(input: HostView, axes: readonly number[], { dtype, plans }: Setting): void {
    clear();
    const x = share(input);
    const kept = x.shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent));
    const output = share(outputView(kept, dtype, plans[1]));
    const values = dense(x);
    const expected = new Float64Array(size(kept));
    const sizes = new Float64Array(size(kept));
    let flat = 0;
    for (const index of indices(x.shape)) {
      const to = index.reduce(
        (position, i, axis) => position * kept[axis] + (axes.includes(axis) ? 0 : i),
        0,
      );
      expected[to] += values[flat];
      sizes[to] += Math.abs(values[flat++]);
    }
    kernels.sum([x], output, { axes });
    expectWithin(
      output,
      expected,
      sizes.map((magnitude) => unit * (sumRoundings + 1) * magnitude),
    );
  }

  it("add up the elements along any axes, in any layout", () => {
    const axes = fc.uniqueArray(fc.nat(3));
    fc.assert(
      fc.property(shapes, axes, setting, (shape, wanted, s) => {
        const within = wanted.filter((axis) => axis < shape.length);
        check(makeInputs([shape], s)[0], within, s);
        fallback.calls = 0;
      }),
      { numRuns: 1000 },
    );
  });

  /** Sums that networks have, of channel slices too: none of these may be left to the loops. */
  const slice = { ...plain, before: [0, 3, 0, 0, 0], after: [0, 2, 0, 0, 0] };
  const cropped = { ...plain, before: [0, 1, 2, 1, 0], after: [0, 1, 1, 2, 0] };
  it.each([
    ["per channel", [3, 5, 7, 7], [0, 2, 3]],
    ["per channel, one image", [1, 5, 14, 14], [0, 2, 3]],
    ["per channel, one pixel", [9, 5, 1, 1], [0, 2, 3]],
    ["trailing axes", [3, 5, 31, 33], [2, 3]],
    ["the last axis", [7, 10], [1]],
    ["the last axis, narrow", [7, 3], [1]],
    ["the first axis", [67, 37], [0]],
    ["the first axis, narrow", [67, 3], [0]],
    ["the first axis of images", [5, 3, 7, 7], [0]],
    ["channels", [2, 5, 7, 7], [1]],
    ["rows", [2, 3, 5, 21], [2]],
    ["images and rows", [19, 3, 17, 5], [0, 2]],
    ["everything", [3, 5, 7, 11], [0, 1, 2, 3]],
    ["everything, a vector", [1031], [0]],
  ])("of %s run in the kernel", (_, shape, axes) => {
    for (const plan of [plain, slice, cropped]) {
      const s = { ...plainSetting, plans: [plan, plain, plain, plain] } satisfies Setting;
      check(makeInputs([shape], s)[0], axes, s);
      // Cropped, a full sum has more loops than the kernel, and no two single pixels are neighbours.
      const scattered = plan === cropped && (axes.length > 3 || size(shape.slice(2)) === 1);
      expectCalls(fallback, scattered && shape.length === 4, "loops for the sum");
    }
  });

  it("are left to the loops when pixels are not in rows, and for f64", () => {
    const transposed = { ...plain, order: [0, 1, 3, 2, 4] };
    const [x] = makeInputs([[2, 3, 4, 5]], plainSetting);
    const wide = share({ ...x, strides: x.strides.map((stride) => 2 * stride), shape: [1, 3, 4, 5] });
    kernels.sum([wide], share(outputView([1, 3, 1, 1], "f32", plain)), { axes: [0, 2, 3] });
    expectCalls(fallback, true, "loops for every other element");
    const doubles = { ...plainSetting, dtype: "f64" } as const;
    check(makeInputs([[2, 3]], doubles)[0], [0], doubles);
    expectCalls(fallback, true, "loops for f64");
    check(inputView([2, 3, 4, 5], "f32", transposed, 3), [2, 3], plainSetting);
    expectCalls(fallback, false, "the order of summed axes does not matter");
  });

  it("add half a million floats without drift", () => {
    const x = inputView([1 << 19], "f32", plain, 1);
    x.data.fill(0.1);
    for (const shape of [[1 << 19], [1 << 17, 4]]) {
      clear();
      const kept = shape.length === 1 ? 1 : 4;
      const strides = shape.length === 1 ? [1] : [4, 1];
      const output = share(outputView([1, kept], "f32", plain));
      const view = { ...output, shape: shape.length === 1 ? [1] : [1, 4], strides };
      kernels.sum([share({ ...x, shape, strides })], view, { axes: [0] });
      for (const value of output.data)
        expect(Math.abs(value / (Math.fround(0.1) * (2 ** 19 / kept)) - 1)).toBeLessThan(unit * 20);
    }
  });
});

describe("sums by the op", () => {
  poisonFreedMemory();

  it("agree with those of f64, in freed memory full of NaN", () => {
    fc.assert(
      fc.property(shapes, fc.uniqueArray(fc.nat(3)), fc.nat(1e6), (shape, wanted, seed) => {
        const axes = wanted.filter((axis) => axis < shape.length);
        const x = randn(shape, { generator: new Generator(seed) });
        const exact = x.to("f64").sum(axes).dataSync();
        const magnitudes = x.to("f64").abs().sum(axes).dataSync();
        for (const [i, value] of x.sum(axes).dataSync().entries())
          expect(Math.abs(value - exact[i])).toBeLessThanOrEqual(unit * (sumRoundings + 1) * magnitudes[i]);
      }),
      { numRuns: 100 },
    );
  });
});
