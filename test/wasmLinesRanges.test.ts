/**
 * However their ranges are cut, maxima, softmax, resizing, gather, sliding pools and sweeps have the same bits: what
 * makes a training step the same on any number of threads.
 */
import { describe, expect, it } from "vitest";
import type { HostView } from "../src/backends/backend.ts";
import { loops } from "../src/backends/cpu/loops/index.ts";
import { assignAllKernels } from "../src/backends/cpu/wasm/kernels/assignAll.ts";
import { gatherKernels } from "../src/backends/cpu/wasm/kernels/gather.ts";
import { maxKernels } from "../src/backends/cpu/wasm/kernels/max.ts";
import { slidingPoolKernels } from "../src/backends/cpu/wasm/kernels/poolSliding.ts";
import { resizeKernels } from "../src/backends/cpu/wasm/kernels/resize.ts";
import { softmaxKernels } from "../src/backends/cpu/wasm/kernels/softmax.ts";
import { WasmRuntime } from "../src/backends/cpu/wasm/runtime.ts";
import { add, input, mul } from "../src/backends/expression.ts";
import { inputView, outputView, plain } from "./hostViews.ts";
import { arithmetics, CutRuntime, workplace } from "./support/sharedViews.ts";

const never = (): never => {
  throw new Error("the kernel left its call to the reference loops");
};

function place(Runtime: typeof WasmRuntime) {
  const { runtime, share, clear } = workplace(arithmetics.at(-1) ?? false, Runtime);
  const kernels = {
    ...maxKernels(runtime),
    ...softmaxKernels(runtime),
    ...resizeKernels(runtime),
    ...gatherKernels(runtime),
    ...slidingPoolKernels(runtime, loops),
    ...assignAllKernels(runtime, loops),
  };
  return { kernels, share, clear };
}

type Place = ReturnType<typeof place>;

const places = [WasmRuntime, CutRuntime as typeof WasmRuntime].map(place);

/** Runs the kernel on both runtimes, several times where ranges are cut, and compares the bits of its output. */
function expectSameBits(
  shapes: readonly (readonly number[])[],
  to: readonly number[],
  run: (kernels: Place["kernels"], inputs: readonly HostView[], output: HostView) => void,
): void {
  const bits = ({ kernels, share, clear }: Place): Int32Array => {
    clear();
    const inputs = shapes.map((shape, i) => share(inputView(shape, "f32", plain, 11 + i)));
    const output = share(outputView(to, "f32", plain));
    run(kernels, inputs, output);
    return new Int32Array(output.data.buffer, output.data.byteOffset, output.data.length).slice();
  };
  const [whole, cut] = places;
  const expected = bits(whole);
  for (let turn = 0; turn < 4; turn++) expect(bits(cut)).toEqual(expected);
}

const zeros = ({ data, ...view }: HostView): HostView => ({
  ...view,
  dtype: "i32",
  data: new Int32Array(data.buffer, data.byteOffset, data.length).fill(0),
});

describe("the bits of", () => {
  it.each([
    ["lines along", [13, 37], [1]],
    ["lines across", [3, 5, 43], [1]],
    ["lines over pixels", [5, 3, 7, 9], [2, 3]],
  ])("%s do not depend on the cut", (_, shape, axes) => {
    const kept = shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent));
    expectSameBits([shape], kept, ({ max }, inputs, output) => max(inputs, output, { axes }, never));
    expectSameBits([shape], kept, (kernels, inputs, output) =>
      kernels.logSumExp(inputs, output, { axes }, never),
    );
    expectSameBits([shape, kept], shape, (kernels, inputs, output) =>
      kernels.maxInputGradient(inputs, output, { axes }, never),
    );
    if (axes.length > 1) return;
    const [axis] = axes;
    expectSameBits([shape], shape, ({ softmax }, inputs, output) => softmax(inputs, output, { axis }, never));
    expectSameBits([shape], shape, (kernels, inputs, output) =>
      kernels.logSoftmax(inputs, output, { axis }, never),
    );
    expectSameBits([shape, shape], shape, (kernels, [values, index], output) =>
      kernels.scatterAdd([values, zeros(index)], output, { axis, shape }, never),
    );
  });

  it("resizing do not depend on the cut", () => {
    const attributes = { mode: "bilinear", size: [9, 14], scale: null, alignCorners: false } as const;
    const [small, large] = [
      [2, 5, 5, 6],
      [2, 5, 9, 14],
    ];
    expectSameBits([small], large, ({ upsample }, inputs, output) =>
      upsample(inputs, output, attributes, never),
    );
    expectSameBits([large], small, (kernels, inputs, output) =>
      kernels.upsampleInputGradient(inputs, output, { ...attributes, inputShape: small }, never),
    );
    expectSameBits([large], small, (kernels, inputs, output) =>
      kernels.adaptiveAvgPool2d(inputs, output, { outputSize: [5, 6] }, never),
    );
  });

  it("sliding pools do not depend on the cut", () => {
    const shape = [2, 7, 6, 9];
    const attributes = {
      kernelSize: [5, 5],
      padding: [2, 2, 2, 2],
      stride: [1, 1],
      dilation: [1, 1],
    } as const;
    expectSameBits([shape], shape, (kernels, inputs, output) =>
      kernels.maxPool2d(inputs, output, attributes),
    );
    expectSameBits([shape, shape], shape, (kernels, inputs, output) =>
      kernels.maxPool2dInputGradient(inputs, output, attributes),
    );
  });

  it("sweeps do not depend on the cut", () => {
    const assignments = [
      { target: 1, expression: add(input(1), mul(input(0), input(0))) },
      { target: 2, expression: mul(input(1), input(0)) },
    ];
    const shapes = [[5], [2050], [1, 3], [1024], [31, 67]];
    const tensors = shapes.flatMap((shape) => [shape, shape]);
    // The last row's third tensor is the output, the others' are extra inputs.
    expectSameBits([...tensors, ...shapes], [31, 67], (kernels, inputs, output) => {
      const rows = shapes.flatMap((_, r) => [
        inputs[2 * r],
        inputs[2 * r + 1],
        r === shapes.length - 1 ? output : inputs[tensors.length + r],
      ]);
      kernels.assignAll(rows, output, { assignments, parameters: [], operands: 3 });
    });
  });
});
