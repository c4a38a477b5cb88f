/**
 * The WebAssembly gather and scatterAdd against their definitions, along any axis of shapes with odd, prime and unit
 * extents in every layout. Reading is exact; a sum of n values goes through n - 1 roundings.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { HostView } from "../src/backends/backend.ts";
import { gatherKernels } from "../src/backends/cpu/wasm/kernels/gather.ts";
import { Generator, gather, grad, randn, scatterAdd, tensor } from "../src/index.ts";
import {
  dense,
  indices,
  inputView,
  outputView,
  plain,
  plainSetting,
  type Setting,
  setting,
  size,
} from "./hostViews.ts";
import { poisonFreedMemory } from "./support/poison.ts";
import { expectWithin, unit, workplace } from "./support/sharedViews.ts";

const extent = fc.constantFrom(1, 1, 2, 3, 4, 5, 7, 11, 13);
const shapes = fc.array(extent, { minLength: 1, maxLength: 5 }).filter((shape) => size(shape) <= 1500);

/** The flat position of an index in row-major order. */
const flatOf = (index: readonly number[], shape: readonly number[]): number =>
  index.reduce((flat, i, axis) => flat * shape[axis] + i, 0);

/** The view with whole numbers below `below` instead of its values. */
function wholeNumbers(view: HostView, below: number): HostView {
  const { buffer, byteOffset, length } = view.data;
  const data = new Int32Array(buffer, byteOffset, length);
  const numbers = Int32Array.from(view.data, (value) => Math.floor(((value + 1) / 2) * below) || 0);
  data.set(numbers);
  return { ...view, dtype: "i32", data };
}

describe("WebAssembly gather and scatterAdd", () => {
  const { runtime, share, clear } = workplace(false);
  const kernels = gatherKernels(runtime);
  let left = 0;
  const reference = () => {
    left++;
  };

  function check(shape: readonly number[], axis: number, count: number, less: readonly number[], s: Setting) {
    clear();
    left = 0;
    const indexShape = shape.map((n, at) => (at === axis ? count : Math.max(1, n - less[at])));
    const x = share(inputView(shape, s.dtype, s.plans[0], s.seed));
    const index = wholeNumbers(share(inputView(indexShape, "f32", s.plans[1], s.seed + 1)), shape[axis]);
    const values = share(inputView(indexShape, s.dtype, s.plans[2], s.seed + 2));
    const places = dense(index);
    const targets = Array.from(indices(indexShape), (at, i) =>
      flatOf(
        at.map((position, a) => (a === axis ? places[i] : position)),
        shape,
      ),
    );

    const output = share(outputView(indexShape, s.dtype, s.plans[3]));
    kernels.gather([x, index], output, { axis }, reference);
    expect(left).toBe(s.dtype === "f64" ? 1 : 0);
    const xs = dense(x);
    if (left === 0)
      expectWithin(
        output,
        targets.map((at) => xs[at]),
        new Float64Array(targets.length),
      );

    left = 0;
    const sums = share(outputView(shape, s.dtype, s.plans[0]));
    kernels.scatterAdd([values, index], sums, { axis, shape }, reference);
    if (s.plans[0] === plain) expect(left).toBe(s.dtype === "f64" ? 1 : 0);
    if (left > 0) return;
    const vs = dense(values);
    const [expected, sizes] = [new Float64Array(size(shape)), new Float64Array(size(shape))];
    for (const [i, at] of targets.entries()) {
      expected[at] += vs[i];
      sizes[at] += Math.abs(vs[i]);
    }
    expectWithin(
      sums,
      expected,
      sizes.map((magnitude) => unit * Math.max(0, count - 1) * magnitude),
    );
  }

  it("move elements to and from the places the index names, along any axis, in any layout", () => {
    const less = fc.array(fc.nat(2), { minLength: 5, maxLength: 5 });
    fc.assert(
      fc.property(
        shapes,
        fc.nat(4),
        fc.constantFrom(0, 1, 2, 7),
        less,
        setting,
        (shape, at, count, fewer, s) => {
          const axis = at % shape.length;
          check(shape, axis, count, fewer, s);
          check(shape, axis, count, fewer, { ...s, plans: [plain, s.plans[1], s.plans[2], s.plans[3]] });
        },
      ),
      { numRuns: 500 },
    );
    check([8, 1000], 1, 1, [0, 0], plainSetting);
    check([2, 21, 9, 7], 1, 1, [0, 0, 0, 0], plainSetting);
  });
});

describe("gather and scatterAdd by the ops", () => {
  poisonFreedMemory();

  it("give each other's gradients, in freed memory full of NaN", () => {
    for (let seed = 0; seed < 20; seed++) {
      const x = randn([4, 5, 3], { generator: new Generator(seed) });
      x.requiresGrad = true;
      const index = tensor([[[seed % 5, 1, 2]], [[0, 0, 4]]], { dtype: "i32" });
      const y = gather(x, index, 1);
      const [gradient] = grad(y.mul(y).sum(), [x]);
      const expected = scatterAdd(y.detach().mul(2), index, [4, 5, 3], 1);
      expect(gradient.dataSync()).toEqual(expected.dataSync());
      expect(y.dataSync()[0]).toBe(x.dataSync()[3 * (seed % 5)]);
    }
  });
});
