/** Matrix product, convolution and pooling kernels against the plain definitions, over random shapes and layouts. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { HostView } from "../src/backends/backend.ts";
import type { Conv2dAttributes } from "../src/backends/cpu/loops/conv2d.ts";
import { loops } from "../src/backends/cpu/loops/index.ts";
import { workspaceBytes } from "../src/backends/cpu/loops/workspace.ts";
import {
  dense,
  expectExactly,
  expectSums,
  indices,
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

interface ConvCase {
  readonly N: number;
  readonly groupInputs: number;
  readonly groupOutputs: number;
  readonly kernel: readonly [number, number];
  /** Outputs and what is left over after the last window. */
  readonly outputs: readonly [number, number];
  readonly rest: readonly [number, number];
  readonly attributes: Conv2dAttributes;
}

const pair = <T>(value: fc.Arbitrary<T>) => fc.tuple(value, value);
const convCase: fc.Arbitrary<ConvCase> = fc.record({
  N: fc.nat(3),
  groupInputs: fc.integer({ min: 1, max: 5 }),
  groupOutputs: fc.integer({ min: 1, max: 6 }),
  kernel: pair(fc.integer({ min: 1, max: 4 })),
  outputs: pair(fc.integer({ min: 1, max: 6 })),
  rest: pair(fc.nat(2)),
  attributes: fc.record({
    stride: pair(fc.integer({ min: 1, max: 3 })),
    padding: fc.oneof(
      fc.constant<[number, number, number, number]>([0, 0, 0, 0]),
      fc.tuple(fc.nat(2), fc.nat(2), fc.nat(2), fc.nat(2)),
    ),
    dilation: pair(fc.integer({ min: 1, max: 3 })),
    groups: fc.integer({ min: 1, max: 3 }),
  }),
});

/** The input extents that give the wanted outputs; at least 1, so that the outputs may be more than wanted. */
function convShapes({ N, groupInputs, groupOutputs, kernel, outputs, rest, attributes }: ConvCase) {
  const { stride, padding, dilation, groups } = attributes;
  const extent = (i: 0 | 1) => {
    const margin = padding[2 * i] + padding[2 * i + 1];
    const span = (outputs[i] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1;
    return Math.max(1, span + Math.min(rest[i], stride[i] - 1) - margin);
  };
  const [H, W] = [extent(0), extent(1)];
  const out = (length: number, i: 0 | 1) =>
    Math.floor(
      (length + padding[2 * i] + padding[2 * i + 1] - dilation[i] * (kernel[i] - 1) - 1) / stride[i],
    ) + 1;
  return {
    x: [N, groupInputs * groups, H, W],
    weight: [groupOutputs * groups, groupInputs, kernel[0], kernel[1]],
    y: [N, groupOutputs * groups, out(H, 0), out(W, 1)],
  };
}

/**
 * Visits every product of the definition: flat positions in x (-1 on the padding), weight and y.
 * The seven loops are n, k, p, q, c, r, s.
 */
function forEachProduct(
  x: readonly number[],
  weight: readonly number[],
  y: readonly number[],
  { stride, padding, dilation, groups }: Conv2dAttributes,
  visit: (x: number, weight: number, y: number) => void,
): void {
  const [, C, H, W] = x;
  const [, groupInputs, R, S] = weight;
  const [N, K, P, Q] = y;
  for (let n = 0; n < N; n++)
    for (let k = 0; k < K; k++)
      for (let p = 0; p < P; p++)
        for (let q = 0; q < Q; q++)
          for (let c = 0; c < groupInputs; c++)
            for (let r = 0; r < R; r++)
              for (let s = 0; s < S; s++) {
                const h = p * stride[0] - padding[0] + r * dilation[0];
                const w = q * stride[1] - padding[2] + s * dilation[1];
                const channel = Math.floor(k / (K / groups)) * groupInputs + c;
                const inside = h >= 0 && h < H && w >= 0 && w < W;
                visit(
                  inside ? ((n * C + channel) * H + h) * W + w : -1,
                  ((k * groupInputs + c) * R + r) * S + s,
                  ((n * K + k) * P + p) * Q + q,
                );
              }
}

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

describe("pooling", () => {
  interface PoolCase {
    readonly x: readonly number[];
    readonly y: readonly number[];
    readonly attributes: Parameters<typeof loops.avgPool2d>[2];
  }
  const poolCase: fc.Arbitrary<PoolCase> = fc
    .tuple(convCase, fc.nat(3), fc.boolean())
    .map(([convolution, C, countIncludePad]) => {
      const { kernel, attributes } = convolution;
      const { x, y } = convShapes({ ...convolution, attributes: { ...attributes, groups: 1 } });
      const { stride, padding, dilation } = attributes;
      return {
        x: [x[0], C, x[2], x[3]],
        y: [y[0], C, y[2], y[3]],
        attributes: { kernelSize: kernel, stride, padding, dilation, countIncludePad },
      };
    });

  /** For each output in row-major order, the flat input positions of the taps that lie inside. */
  function windows({ x, y, attributes }: PoolCase): number[][] {
    const { kernelSize, stride, padding, dilation } = attributes;
    return Array.from(indices(y), ([n, c, p, q]) => {
      const taps: number[] = [];
      for (const [r, s] of indices(kernelSize)) {
        const h = p * stride[0] - padding[0] + r * dilation[0];
        const w = q * stride[1] - padding[2] + s * dilation[1];
        if (h >= 0 && h < x[2] && w >= 0 && w < x[3]) taps.push(((n * x[1] + c) * x[2] + h) * x[3] + w);
      }
      return taps;
    });
  }

  /** First of the largest; the last NaN, if there is one. */
  function winner(taps: readonly number[], values: Float64Array): number | undefined {
    const notNumbers = taps.filter((tap) => Number.isNaN(values[tap]));
    if (notNumbers.length > 0) return notNumbers.at(-1);
    const largest = Math.max(...taps.map((tap) => values[tap]));
    return taps.find((tap) => values[tap] === largest);
  }

  /** Few distinct values, so that windows have ties. */
  function makeTies(view: HostView): void {
    view.data.forEach((value, i) => {
      view.data[i] = Math.round(value * 2);
    });
  }

  it("maxPool2d and maxPool2dPick take the first largest of each window", () => {
    fc.assert(
      fc.property(poolCase, setting, (pool, s) => {
        const inputs = makeInputs([pool.x, pool.x], s);
        makeTies(inputs[0]);
        const [xs, vs] = inputs.map(dense);
        const winners = windows(pool).map((taps) => winner(taps, xs));
        const output = outputView(pool.y, s.dtype, s.plans[2]);
        loops.maxPool2d([inputs[0]], output, pool.attributes);
        expectExactly(
          output,
          winners.map((at) => (at === undefined ? Number.NEGATIVE_INFINITY : xs[at])),
        );
        const picked = outputView(pool.y, s.dtype, s.plans[3]);
        loops.maxPool2dPick(inputs, picked, pool.attributes);
        expectExactly(
          picked,
          winners.map((at) => (at === undefined ? 0 : vs[at])),
        );
      }),
      runs,
    );
  });

  it("maxPool2dInputGradient adds each gradient at its window's winner only", () => {
    fc.assert(
      fc.property(poolCase, setting, (pool, s) => {
        const inputs = makeInputs([pool.x, pool.y], s);
        makeTies(inputs[0]);
        const [xs, gs] = inputs.map(dense);
        const expected = sums(size(pool.x));
        windows(pool).forEach((taps, o) => {
          const at = winner(taps, xs);
          if (at !== undefined) expected[at].add(gs[o]);
        });
        const output = outputView(pool.x, s.dtype, s.plans[2]);
        loops.maxPool2dInputGradient(inputs, output, pool.attributes);
        expectSums(output, expected);
      }),
      runs,
    );
  });

  it("minus infinities have a winner: the first", () => {
    const data = new Float32Array(9).fill(Number.NEGATIVE_INFINITY);
    const x: HostView = { dtype: "f32", data, shape: [1, 1, 3, 3], strides: [9, 9, 3, 1], offset: 0 };
    const grad = outputView([1, 1, 1, 1], "f32", plain);
    grad.data[0] = 5;
    const output = outputView(x.shape, "f32", plain);
    const attributes = {
      kernelSize: [3, 3],
      stride: [1, 1],
      padding: [0, 0, 0, 0],
      dilation: [1, 1],
    } as const;
    loops.maxPool2dInputGradient([x, grad], output, attributes);
    expect(Array.from(output.data)).toEqual([5, 0, 0, 0, 0, 0, 0, 0, 0]);
  });

  it("avgPool2d and its gradient divide by the taps that count", () => {
    fc.assert(
      fc.property(poolCase, setting, (pool, s) => {
        const inputs = makeInputs([pool.x, pool.y], s);
        const [xs, gs] = inputs.map(dense);
        const expected = sums(size(pool.y));
        const gradients = sums(size(pool.x));
        const { kernelSize, countIncludePad } = pool.attributes;
        windows(pool).forEach((taps, o) => {
          const divisor = countIncludePad ? size(kernelSize) : taps.length;
          for (const tap of taps) {
            expected[o].add(xs[tap] / divisor);
            gradients[tap].add(gs[o] / divisor);
          }
        });
        const output = outputView(pool.y, s.dtype, s.plans[2]);
        loops.avgPool2d([inputs[0]], output, pool.attributes);
        expectSums(output, expected);
        const gradient = outputView(pool.x, s.dtype, s.plans[3]);
        loops.avgPool2dInputGradient([inputs[1]], gradient, pool.attributes);
        expectSums(gradient, gradients);
      }),
      runs,
    );
  });
});
