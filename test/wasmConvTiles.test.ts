/**
 * What the WebAssembly convolutions must not depend on: how wide their tiles are (vectors of 128 bits, or pairs that
 * V8 makes into 256), and how their items are dealt out to threads.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { HostView } from "../src/backends/backend.ts";
import { webAssembly } from "../src/backends/cpu/wasm/encoder/index.ts";
import { channelKernels } from "../src/backends/cpu/wasm/kernels/channels.ts";
import { conv2dKernels } from "../src/backends/cpu/wasm/kernels/convolution/index.ts";
import { planeKernels } from "../src/backends/cpu/wasm/kernels/planes.ts";
import { WasmRuntime } from "../src/backends/cpu/wasm/runtime.ts";
import { convCase, convShapes, forEachProduct } from "./convCases.ts";
import { kernelMemory } from "./support/kernelMemory.ts";
import { CutRuntime, unit } from "./support/sharedViews.ts";

function refused(): never {
  throw new Error("the kernel gave its work to the loops");
}
const nothing = { conv2d: refused, conv2dInputGradient: refused, conv2dWeightGradient: refused };

/** The kernels on memory of their own, and views in it. */
function kernelsOf(Runtime: typeof WasmRuntime, revectorised: boolean) {
  if (!webAssembly) throw new Error("this engine has no WebAssembly");
  const memory = kernelMemory();
  const runtime = new Runtime(webAssembly, memory, false, 1, revectorised);
  const room = memory.allocate("f32", 1 << 18);
  if (!(room instanceof Float32Array)) throw new Error("asked for f32");
  let used = 0;
  return {
    ...conv2dKernels(runtime, planeKernels(runtime), channelKernels(runtime), nothing),
    clear() {
      room.fill(Number.NaN, 0, used);
      used = 0;
    },
    view(shape: readonly number[], values?: ArrayLike<number>): HostView {
      const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
      const length = shape.reduce((a, b) => a * b, 1);
      const data = room.subarray(used, used + length);
      used += length;
      if (values) data.set(values);
      return { dtype: "f32", data, shape, strides, offset: 0 };
    },
  };
}

const [plain, wide] = [kernelsOf(WasmRuntime, false), kernelsOf(WasmRuntime, true)];
const [plainCut, wideCut] = [kernelsOf(CutRuntime, false), kernelsOf(CutRuntime, true)];

/** Forward and both gradients of a case of given operands. */
function results(
  kernels: ReturnType<typeof kernelsOf>,
  shapes: ReturnType<typeof convShapes>,
  [x, weight, gradient]: readonly Float32Array[],
  attributes: Parameters<typeof plain.conv2d>[2],
) {
  kernels.clear();
  const [image, filter, back] = [
    kernels.view(shapes.x, x),
    kernels.view(shapes.weight, weight),
    kernels.view(shapes.y, gradient),
  ];
  const outputs = [kernels.view(shapes.y), kernels.view(shapes.x), kernels.view(shapes.weight)];
  kernels.conv2d([image, filter], outputs[0], attributes);
  kernels.conv2dInputGradient([back, filter], outputs[1], attributes);
  kernels.conv2dWeightGradient([image, back], outputs[2], attributes);
  return outputs.map(({ data }) => Float32Array.from(data));
}

/** The definition in f64, with the sum of magnitudes and the number of products of every element. */
function defined(
  { x: X, weight: W, y: Y }: ReturnType<typeof convShapes>,
  [x, weight, gradient]: readonly Float32Array[],
  attributes: Parameters<typeof plain.conv2d>[2],
) {
  const sums = [gradient, x, weight].map(({ length }) =>
    Array.from({ length }, () => ({ value: 0, size: 0, terms: 0 })),
  );
  const add = (which: number, at: number, product: number): void => {
    const sum = sums[which][at];
    sum.value += product;
    sum.size += Math.abs(product);
    sum.terms++;
  };
  forEachProduct(X, W, Y, attributes, (i, j, k) => {
    if (i < 0) return;
    add(0, k, x[i] * weight[j]);
    add(1, i, gradient[k] * weight[j]);
    add(2, j, x[i] * gradient[k]);
  });
  return sums;
}

const drawn = fc.tuple(convCase, fc.nat(1e6));

function operandsOf(shapes: ReturnType<typeof convShapes>, seed: number): Float32Array[] {
  let state = seed + 1;
  const next = () => {
    state = (state * 48271) % 2147483647;
    return state / 1073741823.5 - 1;
  };
  return [shapes.x, shapes.weight, shapes.y].map((shape) =>
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, next),
  );
}

describe("tiles of the WebAssembly convolutions", () => {
  it.each([
    ["of 128 bits", plain],
    ["of 256 bits", wide],
  ] as const)("%s agree with the definition", (_, kernels) => {
    const check = ([given, seed]: [Parameters<typeof convShapes>[0], number]) => {
      const shapes = convShapes(given);
      if ([...shapes.x, ...shapes.y].includes(0)) return;
      const operands = operandsOf(shapes, seed);
      const got = results(kernels, shapes, operands, given.attributes);
      for (const [which, sums] of defined(shapes, operands, given.attributes).entries())
        for (const [i, { value, size, terms }] of sums.entries())
          if (!(Math.abs(got[which][i] - value) <= unit * (terms + 2) * size))
            expect.fail(`result ${which}, element ${i}: ${got[which][i]}, should be ${value}`);
    };
    fc.assert(fc.property(drawn, check), { numRuns: 150, seed: 3 });
  });

  it.each([
    ["of 128 bits", plain, plainCut],
    ["of 256 bits", wide, wideCut],
  ] as const)("%s give the same bits however items are dealt out", (_, kernels, cut) => {
    const check = ([given, seed]: [Parameters<typeof convShapes>[0], number]) => {
      const shapes = convShapes(given);
      if ([...shapes.x, ...shapes.y].includes(0)) return;
      const operands = operandsOf(shapes, seed);
      const [once, pieces] = [kernels, cut].map((each) => results(each, shapes, operands, given.attributes));
      expect(pieces).toEqual(once);
    };
    fc.assert(fc.property(drawn, check), { numRuns: 60, seed: 4 });
  });

  /** What of an input gradient is computed in pairs of columns: images of odd and even extents, panels of 1 to 3 rows. */
  const inPairs = fc.record({
    N: fc.integer({ min: 1, max: 3 }),
    groupInputs: fc.integer({ min: 1, max: 8 }),
    groupOutputs: fc.integer({ min: 1, max: 4 }),
    kernel: fc.constant<[number, number]>([3, 3]),
    outputs: fc.tuple(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 20 })),
    rest: fc.tuple(fc.nat(1), fc.nat(1)),
    attributes: fc.record({
      stride: fc.constant<[number, number]>([2, 2]),
      padding: fc.constant<[number, number, number, number]>([1, 1, 1, 1]),
      dilation: fc.constant<[number, number]>([1, 1]),
      groups: fc.integer({ min: 1, max: 3 }),
    }),
  });

  it("of a stride of 2 agree with the definition and give the same bits however items are dealt out", () => {
    const check = ([given, seed]: [Parameters<typeof convShapes>[0], number]) => {
      const shapes = convShapes(given);
      const operands = operandsOf(shapes, seed);
      const [, sums] = defined(shapes, operands, given.attributes);
      const [, got] = results(wide, shapes, operands, given.attributes);
      for (const [i, { value, size, terms }] of sums.entries())
        if (!(Math.abs(got[i] - value) <= unit * (terms + 2) * size))
          expect.fail(`element ${i}: ${got[i]}, should be ${value}`);
      expect(results(wideCut, shapes, operands, given.attributes)[1]).toEqual(got);
    };
    fc.assert(fc.property(fc.tuple(inPairs, fc.nat(1e6)), check), { numRuns: 100, seed: 6 });
  });

  /** With as many channels and filters as 3x3 windows need to be computed by squares. */
  const bySquares = [
    { N: 5, groupInputs: 25, groupOutputs: 20, outputs: [9, 10] },
    { N: 1, groupInputs: 16, groupOutputs: 35, outputs: [12, 5] },
    { N: 3, groupInputs: 70, groupOutputs: 16, outputs: [7, 7] },
  ] as const;

  it.each(bySquares)("agree with the definition and give the same bits by squares, %o", (given) => {
    const attributes = {
      ...{ stride: [1, 1], dilation: [1, 1], groups: 1 },
      padding: [1, 1, 1, 1],
    } satisfies Parameters<typeof plain.conv2d>[2];
    const shapes = convShapes({ ...given, kernel: [3, 3], rest: [0, 0], attributes });
    const operands = operandsOf(shapes, 5);
    const sums = defined(shapes, operands, attributes);
    for (const [kernels, cut] of [
      [plain, plainCut],
      [wide, wideCut],
    ]) {
      const got = results(kernels, shapes, operands, attributes);
      // Against the plain sum, squares add magnitudes of their neighbours: some ten times as large.
      for (const [which, elements] of sums.entries())
        for (const [i, { value, size, terms }] of elements.entries())
          if (!(Math.abs(got[which][i] - value) <= 16 * unit * (terms + 2) * size))
            expect.fail(`result ${which}, element ${i}: ${got[which][i]}, should be ${value}`);
      expect(results(cut, shapes, operands, attributes)).toEqual(got);
    }
  });
});
