/** Average pooling, and its gradient gathered from the windows that contain an element. */
import type { KernelAttributes } from "../../backend.ts";
import { float } from "../parameters.ts";
import type { GpuKernel } from "../runtime.ts";
import { type ImageKernel, launchImages } from "./images.ts";
import { forEachTap, forEachWindow, windowFunctions, windowNumbers } from "./poolWindows.ts";

/** 1 over the taps that count, the same for all windows where none hangs over or the margin counts. */
const sameWeight = "fn tap_weight(h: i32, w: i32) -> f32 { return p.weight; }";

/** 1 over the taps inside the image; a window of margin only has mean 0. */
const ownWeight = `
fn inside(first: i32, taps: i32, dilation: i32, extent: i32) -> i32 {
  let from_tap = (max(0, -first) + dilation - 1) / dilation;
  let to_tap = min(taps, (max(0, extent - first) + dilation - 1) / dilation);
  return max(0, to_tap - from_tap);
}
fn tap_weight(h: i32, w: i32) -> f32 {
  let rows = inside(h * p.stride_h - p.top, p.taps_h, p.dilation_h, p.input_h);
  let columns = inside(w * p.stride_w - p.left, p.taps_w, p.dilation_w, p.input_w);
  return 1.0 / f32(max(1, rows * columns));
}`;

/** What both kernels need of the windows. */
function windows(
  attributes: KernelAttributes["avgPool2d"],
  inputShape: readonly number[],
  outputShape: readonly number[],
): Pick<ImageKernel, "variant" | "numbers" | "declarations"> {
  const { kernelSize, padding, countIncludePad } = attributes;
  const numbers = windowNumbers(attributes, inputShape, outputShape);
  if (!countIncludePad && padding.some((margin) => margin > 0))
    return { variant: "own", numbers, declarations: windowFunctions + ownWeight };
  return {
    variant: "same",
    numbers: { ...numbers, weight: float(1 / (kernelSize[0] * kernelSize[1])) },
    declarations: windowFunctions + sameWeight,
  };
}

export const avgPool2d: GpuKernel<KernelAttributes["avgPool2d"]> = (runtime, [x], output, attributes) =>
  launchImages(runtime, {
    label: "avgPool2d",
    inputs: { x },
    output,
    ...windows(attributes, x.shape, output.shape),
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
    ...windows(attributes, output.shape, gradient.shape),
    body: `  result = 0.0;
${forEachWindow("      result += gradient_at(n, c, row, column) * tap_weight(row, column);")}`,
  });
