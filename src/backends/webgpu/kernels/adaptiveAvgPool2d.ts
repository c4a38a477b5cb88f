/**
 * Average pooling to a given size, and its gradient. Window i of P over H elements spans ⌊iH / P⌋ to ⌈(i + 1)H / P⌉;
 * the windows that contain element h are those of the same formula with H and P exchanged.
 */
import type { KernelAttributes } from "../../backend.ts";
import type { GpuKernel, GpuView } from "../runtime.ts";
import { launchImages } from "./images.ts";

const bounds = `
fn first_of(i: i32, extent: i32, parts: i32) -> i32 { return i * extent / parts; }
fn end_of(i: i32, extent: i32, parts: i32) -> i32 { return ((i + 1) * extent + parts - 1) / parts; }
`;

const extents = (image: GpuView, windows: GpuView) => ({
  image_h: image.shape[2],
  image_w: image.shape[3],
  windows_h: windows.shape[2],
  windows_w: windows.shape[3],
});

/** Row by row, so that the sum of a large window rounds less. */
export const adaptiveAvgPool2d: GpuKernel<KernelAttributes["adaptiveAvgPool2d"]> = (runtime, [x], output) =>
  launchImages(runtime, {
    label: "adaptiveAvgPool2d",
    inputs: { x },
    output,
    numbers: extents(x, output),
    declarations: bounds,
    body: `  let top = first_of(h, p.image_h, p.windows_h);
  let bottom = end_of(h, p.image_h, p.windows_h);
  let left = first_of(w, p.image_w, p.windows_w);
  let right = end_of(w, p.image_w, p.windows_w);
  result = 0.0;
  for (var row = top; row < bottom; row += 1) {
    var line = 0.0;
    for (var column = left; column < right; column += 1) { line += x_at(n, c, row, column); }
    result += line;
  }
  result /= f32((bottom - top) * (right - left));`,
  });

export const adaptiveAvgPool2dInputGradient: GpuKernel<KernelAttributes["adaptiveAvgPool2dInputGradient"]> = (
  runtime,
  [gradient],
  output,
) =>
  launchImages(runtime, {
    label: "adaptiveAvgPool2dInputGradient",
    inputs: { gradient },
    output,
    numbers: extents(output, gradient),
    declarations: bounds,
    body: `  let bottom = end_of(h, p.windows_h, p.image_h);
  let right = end_of(w, p.windows_w, p.image_w);
  result = 0.0;
  for (var row = first_of(h, p.windows_h, p.image_h); row < bottom; row += 1) {
    let rows = end_of(row, p.image_h, p.windows_h) - first_of(row, p.image_h, p.windows_h);
    for (var column = first_of(w, p.windows_w, p.image_w); column < right; column += 1) {
      let columns = end_of(column, p.image_w, p.windows_w) - first_of(column, p.image_w, p.windows_w);
      result += gradient_at(n, c, row, column) / f32(rows * columns);
    }
  }`,
  });
