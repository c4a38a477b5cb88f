/** What the pooling kernels share: the windows' numbers, and how WGSL finds windows and taps. */
import type { Pool2dAttributes } from "../../cpu/loops/poolWindows.ts";

/** The numbers of windows over images of `inputShape` [N, C, H, W] with outputs of `outputShape` [N, C, P, Q]. */
export function windowNumbers(
  { kernelSize, stride, padding, dilation }: Pool2dAttributes,
  inputShape: readonly number[],
  outputShape: readonly number[],
): Record<string, number> {
  return {
    taps_h: kernelSize[0],
    taps_w: kernelSize[1],
    stride_h: stride[0],
    stride_w: stride[1],
    top: padding[0],
    left: padding[2],
    dilation_h: dilation[0],
    dilation_w: dilation[1],
    input_h: inputShape[2],
    input_w: inputShape[3],
    windows_h: outputShape[2],
    windows_w: outputShape[3],
  };
}

/** WGSL: runs `body` for every tap (`row`, `column`) of window (`h`, `w`) in the image, the `r`-th and `s`-th. */
export const forEachTap = (body: string): string => `  for (var r = 0; r < p.taps_h; r += 1) {
    let row = h * p.stride_h - p.top + r * p.dilation_h;
    if (row < 0 || row >= p.input_h) { continue; }
    for (var s = 0; s < p.taps_w; s += 1) {
      let column = w * p.stride_w - p.left + s * p.dilation_w;
      if (column < 0 || column >= p.input_w) { continue; }
${body}
    }
  }`;

/** WGSL that `forEachWindow` calls: the first window, of those a stride apart, that reaches as far as `place`. */
export const windowFunctions = `
fn first_window(place: i32, reach: i32, stride: i32) -> i32 {
  return (max(0, place - reach + 1) + stride - 1) / stride;
}
`;

/**
 * WGSL: runs `body` for every window (`row`, `column`) whose tap (`r`, `s`) is the image's element (`h`, `w`). Goes
 * over windows, not taps: where they do not overlap, an element has but one.
 */
export const forEachWindow = (body: string): string => `  let reach_h = (p.taps_h - 1) * p.dilation_h + 1;
  let reach_w = (p.taps_w - 1) * p.dilation_w + 1;
  let last_row = min(p.windows_h - 1, (h + p.top) / p.stride_h);
  let last_column = min(p.windows_w - 1, (w + p.left) / p.stride_w);
  let first_column = first_window(w + p.left, reach_w, p.stride_w);
  for (var row = first_window(h + p.top, reach_h, p.stride_h); row <= last_row; row += 1) {
    let r = (h + p.top - row * p.stride_h) / p.dilation_h;
    if (r * p.dilation_h != h + p.top - row * p.stride_h) { continue; }
    for (var column = first_column; column <= last_column; column += 1) {
      let s = (w + p.left - column * p.stride_w) / p.dilation_w;
      if (s * p.dilation_w != w + p.left - column * p.stride_w) { continue; }
${body}
    }
  }`;
