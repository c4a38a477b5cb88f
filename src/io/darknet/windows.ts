/** How far the windows of a cfg's convolutions and poolings reach, in the words of our ops. */
import type { SectionOf } from "./schema.ts";

/** Pairs are [vertical, horizontal]. */
export interface Window {
  readonly size: number;
  readonly stride: readonly [number, number];
  readonly dilation: number;
  /** [top, bottom, left, right] */
  readonly padding: readonly [number, number, number, number];
}

interface Strides {
  readonly stride: number;
  readonly stride_x?: number | undefined;
  readonly stride_y?: number | undefined;
}

const strideOf = ({ stride, stride_x = stride, stride_y = stride }: Strides): [number, number] => [
  stride_y,
  stride_x,
];

/** A 1 x 1 window knows no dilation, and the margin grows with the dilation, as in Darknet. */
export function convolutionWindow(section: SectionOf<"convolutional">): Window {
  const { size } = section;
  const dilation = size === 1 ? 1 : section.dilation;
  const margin = (section.pad !== 0 ? Math.floor(size / 2) : section.padding) * dilation;
  return { size, stride: strideOf(section), dilation, padding: [margin, margin, margin, margin] };
}

/** `padding` is both margins together, by default size - 1; the smaller half lies at the top and left. */
export function poolingWindow(section: SectionOf<"maxpool" | "local_avgpool">): Window {
  const { stride, size = stride, padding = size - 1 } = section;
  const before = Math.floor(padding / 2);
  const after = padding - before;
  return { size, stride: strideOf(section), dilation: 1, padding: [before, after, before, after] };
}

/** Rows and columns of windows that fit into an image of height x width; not positive where none does. */
export function windowCounts(window: Window, height: number, width: number): [number, number] {
  const { size, stride, dilation, padding } = window;
  const reach = dilation * (size - 1) + 1;
  const windows = (extent: number, before: number, after: number, step: number) =>
    Math.floor((extent + before + after - reach) / step) + 1;
  return [
    windows(height, padding[0], padding[1], stride[0]),
    windows(width, padding[2], padding[3], stride[1]),
  ];
}
