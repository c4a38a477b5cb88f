/** The WebAssembly matrix product against its definition, over sizes, stacks and layouts, amid NaN. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { channelKernels } from "../src/backends/cpu/wasm/kernels/channels.ts";
import { conv2dKernels } from "../src/backends/cpu/wasm/kernels/convolution/index.ts";
import { matmulKernel } from "../src/backends/cpu/wasm/kernels/matmul.ts";
import { planeKernels } from "../src/backends/cpu/wasm/kernels/planes.ts";
import { dense, inputView, layoutPlan, outputView, plain, size } from "./hostViews.ts";
import { arithmetics, expectWithin, unit, workplace } from "./support/sharedViews.ts";

function refused(): never {
  throw new Error("the kernel gave its work to the loops");
}
const none = { conv2d: refused, conv2dInputGradient: refused, conv2dWeightGradient: refused };

describe.each(arithmetics)("matmul in WebAssembly, fused %s", (fused) => {
  const place = workplace(fused);
  const planes = planeKernels(place.runtime);
  let loopsRan = 0;
  const run = matmulKernel(
    place.runtime,
    conv2dKernels(place.runtime, planes, channelKernels(place.runtime), none),
    planes,
    () => {
      loopsRan++;
    },
  );

  function check(
    batch: readonly number[],
    [M, N, K]: readonly [number, number, number],
    plans: readonly (typeof plain)[],
    transposes: readonly [boolean, boolean],
  ): void {
    place.clear();
    const operand = (rows: number, columns: number, which: 0 | 1) => {
      const view = place.share(
        inputView(
          [...batch, ...(transposes[which] ? [columns, rows] : [rows, columns])],
          "f32",
          plans[which],
          which + 1,
        ),
      );
      if (!transposes[which]) return view;
      const swap = (list: readonly number[]) => [...list.slice(0, -2), ...list.slice(-2).reverse()];
      return { ...view, shape: swap(view.shape), strides: swap(view.strides) };
    };
    const [a, b] = [operand(M, K, 0), operand(K, N, 1)];
    const output = place.share(outputView([...batch, M, N], "f32", plans[2]));
    const [left, right] = [dense(a), dense(b)];
    const [expected, allowed] = [new Float64Array(size(output.shape)), new Float64Array(size(output.shape))];
    for (let z = 0; z < size(batch); z++)
      for (let m = 0; m < M; m++)
        for (let n = 0; n < N; n++)
          for (let k = 0; k < K; k++) {
            const product = left[(z * M + m) * K + k] * right[(z * K + k) * N + n];
            expected[(z * M + m) * N + n] += product;
            // One rounding of every product and one of every sum, of at most the sum of magnitudes.
            allowed[(z * M + m) * N + n] += unit * (K + 2) * Math.abs(product);
          }
    run([a, b], output, {});
    if (loopsRan === 0) expectWithin(output, expected, allowed);
  }

  it("is the sum over k of a[m, k] * b[k, n], in any layout", () => {
    const extents = fc.tuple(
      fc.integer({ min: 1, max: 19 }),
      fc.integer({ min: 1, max: 37 }),
      fc.integer({ min: 1, max: 23 }),
    );
    const stack = fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 2 });
    fc.assert(
      fc.property(
        stack,
        extents,
        fc.tuple(layoutPlan, layoutPlan),
        fc.tuple(fc.boolean(), fc.boolean()),
        (batch, sizes, plans, transposes) => check(batch, sizes, [...plans, plain], transposes),
      ),
      { numRuns: 200, seed: 5 },
    );
    expect(loopsRan).toBe(0);
  });

  it("crosses the borders of its blocks", () => {
    check([], [13, 7, 700], [plain, plain, plain], [false, false]);
    check([2], [5, 1111, 3], [plain, plain, plain], [true, false]);
    check([], [7, 9, 1301], [plain, plain, plain], [false, true]);
    expect(loopsRan).toBe(0);
  });

  it("leaves empty and wider operands to the loops", () => {
    place.clear();
    const views = [
      [
        inputView([0, 3], "f32", plain, 1),
        inputView([3, 2], "f32", plain, 2),
        outputView([0, 2], "f32", plain),
      ],
      [
        inputView([2, 3], "f64", plain, 1),
        inputView([3, 2], "f64", plain, 2),
        outputView([2, 2], "f64", plain),
      ],
    ];
    for (const [a, b, output] of views) run([a, b].map(place.share), place.share(output), {});
    expect(loopsRan).toBe(2);
  });
});
