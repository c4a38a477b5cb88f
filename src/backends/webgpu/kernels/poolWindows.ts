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

/** WGSL: runs `body` for every window (`row`, `column`) whose tap (`r`, `s`) is the image's element (`h`, `w`). */
export const forEachWindow = (body: string): string => `  for (var r = 0; r < p.taps_h; r += 1) {
    let from_top = h + p.top - r * p.dilation_h;
    let row = from_top / p.stride_h;
    if (from_top < 0 || row * p.stride_h != from_top || row >= p.windows_h) { continue; }
    for (var s = 0; s < p.taps_w; s += 1) {
      let from_left = w + p.left - s * p.dilation_w;
      let column = from_left / p.stride_w;
      if (from_left < 0 || column * p.stride_w != from_left || column >= p.windows_w) { continue; }
${body}
    }
  }`;
