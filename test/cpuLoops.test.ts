/** Matrix product and convolution kernels against the plain definitions, over random shapes and layouts. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { loops } from "../src/backends/cpu/loops/index.ts";
import { workspaceBytes } from "../src/backends/cpu/loops/workspace.ts";
import { type ConvCase, convCase, convShapes, forEachProduct } from "./convCases.ts";
import {
  dense,
  expectSums,
  makeInputs,
  outputView,
  plain,
  plainSetting,
  runs,
  type Setting,
  setting,
  size,
  sums,
} from "./hostViews.ts";

describe("matmul", () => {
  function check(batch: readonly number[], M: number, N: number, K: number, s: Setting): void {
    const inputs = makeInputs(
      [
        [...batch, M, K],
        [...batch, K, N],
      ],
      s,
    );
    const output = outputView([...batch, M, N], s.dtype, s.plans[2]);
    const [a, b] = inputs.map(dense);
    const expected = sums(size(output.shape));
    for (let z = 0; z < size(batch); z++) {
      for (let m = 0; m < M; m++) {
        for (let n = 0; n < N; n++) {
          const sum = expected[(z * M + m) * N + n];
          for (let k = 0; k < K; k++) sum.add(a[(z * M + m) * K + k] * b[(z * K + k) * N + n]);
        }
      }
    }
    loops.matmul(inputs, output, {});
    expectSums(output, expected);
  }

  it("is the sum over k of a[m, k] * b[k, n], in any layout", () => {
    const extents = fc.tuple(fc.array(fc.nat(3), { maxLength: 2 }), fc.nat(11), fc.nat(11), fc.nat(11));
    fc.assert(
      fc.property(extents, setting, ([batch, M, N, K], s) => check(batch, M, N, K, s)),
      runs,
    );
  });

  it("crosses the borders of its blocks", () => {
    check([], 133, 7, 517, plainSetting);
    check([2], 1, 1, 256, plainSetting);
    check([], 129, 5, 257, { ...plainSetting, dtype: "f64" });
  });
});

const largeConvs: readonly ConvCase[] = [
  // More images than one block takes, depth over two blocks, rows and columns that 4 does not divide.
  {
    N: 12,
    groupInputs: 31,
    groupOutputs: 9,
    kernel: [3, 3],
    outputs: [7, 7],
    rest: [0, 0],
    attributes: { stride: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1], groups: 1 },
  },
  {
    N: 3,
    groupInputs: 2,
    groupOutputs: 133,
    kernel: [3, 2],
    outputs: [5, 23],
    rest: [1, 1],
    attributes: { stride: [2, 2], padding: [1, 0, 0, 1], dilation: [1, 1], groups: 1 },
  },
];

describe("conv2d", () => {
  function check(convolution: ConvCase, withBias: boolean, s: Setting): void {
    const { x, weight, y } = convShapes(convolution);
    const inputs = makeInputs(withBias ? [x, weight, [y[1]]] : [x, weight], s);
    const output = outputView(y, s.dtype, s.plans[3]);
    const [xs, ws, bs] = inputs.map(dense);
    const expected = sums(size(y));
    if (withBias) {
      expected.forEach((sum, i) => {
        sum.add(bs[Math.floor(i / (y[2] * y[3])) % y[1]]);
      });
    }
    forEachProduct(x, weight, y, convolution.attributes, (i, j, o) => {
      expected[o].add((i < 0 ? 0 : xs[i]) * ws[j]);
    });
    loops.conv2d(inputs, output, convolution.attributes);
    expectSums(output, expected);
  }

  it("is the sum over channels and taps, plus the bias", () => {
    fc.assert(fc.property(convCase, fc.boolean(), setting, check), runs);
  });

  it("crosses the borders of its blocks", () => {
    for (const large of largeConvs) check(large, true, plainSetting);
  });
});

describe("scratch memory", () => {
  it("is kept from call to call and does not grow", () => {
    const { x, weight, y } = convShapes(largeConvs[0]);
    const [input, weights, grad] = makeInputs([x, weight, y], plainSetting);
    const step = () => {
      loops.conv2d([input, weights], outputView(y, "f32", plain), largeConvs[0].attributes);
      loops.conv2dInputGradient([grad, weights], outputView(x, "f32", plain), largeConvs[0].attributes);
      loops.conv2dWeightGradient([input, grad], outputView(weight, "f32", plain), largeConvs[0].attributes);
    };
    step();
    const held = workspaceBytes();
    expect(held).toBeGreaterThan(0);
    step();
    expect(workspaceBytes()).toBe(held);
  });
});

describe("conv2dInputGradient", () => {
  function check(convolution: ConvCase, s: Setting): void {
    const { x, weight, y } = convShapes(convolution);
    // An infinite weight reaches further than the definition says: see the kernel. The gradient's must not.
    const planted = s.planted && { ...s.planted, input: 0 };
    const inputs = makeInputs([y, weight], { ...s, planted });
    const output = outputView(x, s.dtype, s.plans[2]);
    const [gs, ws] = inputs.map(dense);
    const expected = sums(size(x));
    forEachProduct(x, weight, y, convolution.attributes, (i, j, o) => {
      if (i >= 0) expected[i].add(gs[o] * ws[j]);
    });
    loops.conv2dInputGradient(inputs, output, convolution.attributes);
    expectSums(output, expected);
  }

  it("sends each output's gradient to every pixel it read", () => {
    fc.assert(fc.property(convCase, setting, check), runs);
  });

  it("crosses the borders of its blocks", () => {
    for (const large of largeConvs) check(large, plainSetting);
  });
});

describe("conv2dWeightGradient", () => {
  function check(convolution: ConvCase, s: Setting): void {
    const { x, weight, y } = convShapes(convolution);
    const inputs = makeInputs([x, y], s);
    const output = outputView(weight, s.dtype, s.plans[2]);
    const [xs, gs] = inputs.map(dense);
    const expected = sums(size(weight));
    forEachProduct(x, weight, y, convolution.attributes, (i, j, o) => {
      expected[j].add((i < 0 ? 0 : xs[i]) * gs[o]);
    });
    loops.conv2dWeightGradient(inputs, output, convolution.attributes);
    expectSums(output, expected);
  }

  it("sums over the batch and all windows", () => {
    fc.assert(fc.property(convCase, setting, check), runs);
  });

  it("crosses the borders of its blocks", () => {
    for (const large of largeConvs) check(large, plainSetting);
  });
});
