/**
 * Max pooling: the winner of a window is its first largest element, or its last NaN. The gradient is gathered: first
 * every window notes which tap won, then every element asks the windows that contain it.
 */
import type { KernelAttributes } from "../../backend.ts";
import type { Pool2dAttributes } from "../../cpu/loops/poolWindows.ts";
import type { GpuKernel, GpuRuntime, GpuView } from "../runtime.ts";
import { launchImages } from "./images.ts";
import { forEachTap, forEachWindow, windowFunctions, windowNumbers } from "./poolWindows.ts";

/** Finds each window's winner in x; `taken` sets `result` when a tap takes the lead. */
function launchWinners(
  runtime: GpuRuntime,
  label: string,
  inputs: { readonly x: GpuView; readonly v?: GpuView },
  output: GpuView,
  attributes: Pool2dAttributes,
  { empty, taken }: { readonly empty: string; readonly taken: string },
): void {
  const { x, v } = inputs;
  launchImages(runtime, {
    label,
    inputs: v ? { x, v } : { x },
    output,
    numbers: windowNumbers(attributes, x.shape, output.shape),
    body: `  result = ${empty};
  var largest = 0.0;
  var leads = false;
${forEachTap(`      let value = x_at(n, c, row, column);
      if (!leads || is_nan(value) || (value > largest && !is_nan(largest))) {
        leads = true;
        largest = value;
        result = ${taken};
      }`)}`,
  });
}

export const maxPool2d: GpuKernel<KernelAttributes["maxPool2d"]> = (runtime, [x], output, attributes) =>
  launchWinners(runtime, "maxPool2d", { x }, output, attributes, {
    empty: "-f_infinity()",
    taken: "value",
  });

export const maxPool2dPick: GpuKernel<KernelAttributes["maxPool2dPick"]> = (
  runtime,
  [x, v],
  output,
  attributes,
) =>
  launchWinners(runtime, "maxPool2dPick", { x, v }, output, attributes, {
    empty: "0.0",
    taken: "v_at(n, c, row, column)",
  });

export const maxPool2dInputGradient: GpuKernel<KernelAttributes["maxPool2dInputGradient"]> = (
  runtime,
  [x, gradient],
  output,
  attributes,
) => {
  const { shape } = gradient;
  const [N, C, P, Q] = shape;
  if (N * C === 0) return;
  runtime.scratch(
    N * C * P * Q,
    (buffer) => {
      const winners: GpuView = { buffer, shape, strides: [C * P * Q, P * Q, Q, 1], offset: 0 };
      launchWinners(runtime, "maxPool2dWinners", { x }, winners, attributes, {
        empty: "-1",
        taken: "r * p.taps_w + s",
      });
      launchImages(runtime, {
        label: "maxPool2dInputGradient",
        inputs: { winner: winners, gradient },
        output,
        numbers: windowNumbers(attributes, x.shape, shape),
        declarations: windowFunctions,
        body: `  result = 0.0;
${forEachWindow(`      if (winner_at(n, c, row, column) == r * p.taps_w + s) { result += gradient_at(n, c, row, column); }`)}`,
      });
    },
    "i32",
  );
};
