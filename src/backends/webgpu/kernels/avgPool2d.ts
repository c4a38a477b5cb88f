/** Average pooling, and its gradient gathered from the windows that contain an element. */
import type { KernelAttributes } from "../../backend.ts";
import type { GpuKernel } from "../runtime.ts";
import { launchImages } from "./images.ts";
import { forEachTap, forEachWindow, windowNumbers } from "./poolWindows.ts";

/** 1 over the taps that count; a window of margin only has mean 0. */
const tapWeight = `
fn inside(first: i32, taps: i32, dilation: i32, extent: i32) -> i32 {
  let from_tap = (max(0, -first) + dilation - 1) / dilation;
  let to_tap = min(taps, (max(0, extent - first) + dilation - 1) / dilation);
  return max(0, to_tap - from_tap);
}
fn tap_weight(h: i32, w: i32) -> f32 {
  if (p.counts_padding == 1) { return 1.0 / f32(p.taps_h * p.taps_w); }
  let rows = inside(h * p.stride_h - p.top, p.taps_h, p.dilation_h, p.input_h);
  let columns = inside(w * p.stride_w - p.left, p.taps_w, p.dilation_w, p.input_w);
  return 1.0 / f32(max(1, rows * columns));
}`;

export const avgPool2d: GpuKernel<KernelAttributes["avgPool2d"]> = (runtime, [x], output, attributes) =>
  launchImages(runtime, {
    label: "avgPool2d",
    inputs: { x },
    output,
    numbers: {
      ...windowNumbers(attributes, x.shape, output.shape),
      counts_padding: Number(attributes.countIncludePad),
    },
    declarations: tapWeight,
    body: `  result = 0.0;
${forEachTap("      result += x_at(n, c, row, column);")}
  result *= tap_weight(h, w);`,
  });

export const avgPool2dInputGradient: GpuKernel<KernelAttributes["avgPool2dInputGradient"]> = (
  runtime,
  [gradient],
  output,
  attributes,
) =>
  launchImages(runtime, {
    label: "avgPool2dInputGradient",
    inputs: { gradient },
    output,
    numbers: {
      ...windowNumbers(attributes, output.shape, gradient.shape),
      counts_padding: Number(attributes.countIncludePad),
    },
    declarations: tapWeight,
    body: `  result = 0.0;
${forEachWindow("      result += gradient_at(n, c, row, column) * tap_weight(row, column);")}`,
  });
