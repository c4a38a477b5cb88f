/** slice and pad, each the other's gradient: what was cut off receives zero, what was added passes nothing on. */
import type { PadAttributes } from "../../backends/cpu/loops/pad.ts";
import { formatShape, normalizeAxis } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { defineOp, defineView, type Op, type SampleSource, type ViewOp } from "../defineOp.ts";
import { dot, forEachIndex } from "./indexing.ts";

declare module "../../backends/backend.ts" {
  interface KernelAttributes {
    pad: PadAttributes;
  }
}

interface SliceAttributes {
  /** First element taken and one past the last, by axis. */
  readonly ranges: readonly (readonly [start: number, end: number])[];
}

const drawRanges = (source: SampleSource, shape: readonly number[]) =>
  shape.map((extent): [number, number] => {
    const start = source.integer(0, extent);
    return [start, source.integer(start, extent)];
  });

const sliceView: ViewOp<SliceAttributes> = defineView<SliceAttributes>({
  name: "slice",
  summary: "the elements from start to end of every axis, without a copy",
  layout: ({ strides, offset }, { ranges }) => ({
    shape: ranges.map(([start, end]) => end - start),
    strides,
    offset: ranges.reduce((position, [start], axis) => position + start * strides[axis], offset),
  }),
  gradients: [
    ({ gradient, inputs, attributes }) =>
      padOp([gradient], {
        padding: attributes.ranges.map(([start, end], axis) => [start, inputs[0].shape[axis] - end]),
        value: 0,
      }),
  ],
  samples: () => [
    {
      inputs: [{ shape: [5, 4] }],
      attributes: {
        ranges: [
          [1, 4],
          [0, 4],
        ],
      },
    },
    { inputs: [{ shape: [3] }], attributes: { ranges: [[2, 2]] } },
    { inputs: [{ shape: [] }], attributes: { ranges: [] } },
  ],
  draw(source) {
    const shape = source.shape(0, 4);
    return { inputs: [{ shape }], attributes: { ranges: drawRanges(source, shape) } };
  },
});

const padOp: Op<PadAttributes> = defineOp({
  name: "pad",
  summary: "x with `padding` elements of `value` around it",
  infer: ([x], { padding }) => ({
    shape: x.shape.map((extent, axis) => padding[axis][0] + extent + padding[axis][1]),
    dtype: x.dtype,
  }),
  reference([x], output, { padding, value }) {
    forEachIndex(output.shape, (index) => {
      const source = index.map((i, axis) => i - padding[axis][0]);
      const inside = source.every((i, axis) => i >= 0 && i < x.shape[axis]);
      output.data[output.offset + dot(index, output.strides)] = inside
        ? x.data[x.offset + dot(source, x.strides)]
        : value;
    });
  },
  gradients: [
    ({ gradient, inputs, attributes }) =>
      sliceView(gradient, {
        ranges: attributes.padding.map(([before], axis) => [before, before + inputs[0].shape[axis]]),
      }),
  ],
  flops: () => 0,
  samples: () => [
    {
      inputs: [{ shape: [2, 3] }],
      attributes: {
        padding: [
          [1, 0],
          [2, 3],
        ],
        value: 0,
      },
    },
    { inputs: [{ shape: [0] }], attributes: { padding: [[1, 2]], value: -1.5 } },
  ],
  draw(source) {
    const shape = source.shape(0, 4);
    const padding = shape.map((): [number, number] => [source.integer(0, 3), source.integer(0, 3)]);
    return { inputs: [{ shape }], attributes: { padding, value: source.pick([0, 2.5]) } };
  },
});

/**
 * Elements `start` to `end` (not included) of one axis, as a view. Negative positions count from the end.
 * Throws when the range leaves the axis.
 */
export function slice(x: Tensor, axis: number, start: number, end?: number): Tensor {
  const at = normalizeAxis("slice", axis, x.rank);
  const extent = x.shape[at];
  const from = start < 0 ? start + extent : start;
  const to = end === undefined ? extent : end < 0 ? end + extent : end;
  if (!Number.isInteger(from) || !Number.isInteger(to) || from < 0 || from > to || to > extent)
    throw new Error(
      `slice: range ${start} to ${end ?? "the end"} does not lie in axis ${axis} of ${formatShape(x.shape)}`,
    );
  return sliceView(x, { ranges: x.shape.map((n, i) => (i === at ? [from, to] : [0, n])) });
}

/** The `index`-th entry along `axis`, without that axis: `select(x, 0, 2)` is `x[2]`. */
export function select(x: Tensor, axis: number, index: number): Tensor {
  const at = normalizeAxis("select", axis, x.rank);
  const from = index < 0 ? index + x.shape[at] : index;
  if (!Number.isInteger(from) || from < 0 || from >= x.shape[at])
    throw new Error(`select: index ${index} is out of range for axis ${axis} of ${formatShape(x.shape)}`);
  return squeezeView(slice(x, at, from, from + 1), { axis: at });
}

interface AxisAttributes {
  readonly axis: number;
}

const squeezeView: ViewOp<AxisAttributes> = defineView<AxisAttributes>({
  name: "squeeze",
  summary: "x without one axis of extent 1",
  layout: ({ shape, strides, offset }, { axis }) => ({
    shape: shape.filter((_, i) => i !== axis),
    strides: strides.filter((_, i) => i !== axis),
    offset,
  }),
  gradients: [({ gradient, attributes }) => unsqueezeView(gradient, attributes)],
  samples: () => [{ inputs: [{ shape: [2, 1, 3] }], attributes: { axis: 1 } }],
  draw(source) {
    const shape = source.shape(0, 3);
    const axis = source.integer(0, shape.length);
    return { inputs: [{ shape: [...shape.slice(0, axis), 1, ...shape.slice(axis)] }], attributes: { axis } };
  },
});

const unsqueezeView: ViewOp<AxisAttributes> = defineView<AxisAttributes>({
  name: "unsqueeze",
  summary: "x with an axis of extent 1 put in",
  layout: ({ shape, strides, offset }, { axis }) => ({
    shape: [...shape.slice(0, axis), 1, ...shape.slice(axis)],
    strides: [...strides.slice(0, axis), 0, ...strides.slice(axis)],
    offset,
  }),
  gradients: [({ gradient, attributes }) => squeezeView(gradient, attributes)],
  samples: () => [{ inputs: [{ shape: [2, 3] }], attributes: { axis: 1 } }],
  draw(source) {
    const shape = source.shape(0, 3);
    return { inputs: [{ shape }], attributes: { axis: source.integer(0, shape.length) } };
  },
});

/** `x` without `axis`, which must have extent 1. Throws otherwise. */
export function squeeze(x: Tensor, axis: number): Tensor {
  const at = normalizeAxis("squeeze", axis, x.rank);
  if (x.shape[at] !== 1)
    throw new Error(`squeeze: axis ${axis} of ${formatShape(x.shape)} has extent ${x.shape[at]}, not 1`);
  return squeezeView(x, { axis: at });
}

/** `x` with a new axis of extent 1 at position `axis`. */
export function unsqueeze(x: Tensor, axis: number): Tensor {
  return unsqueezeView(x, { axis: normalizeAxis("unsqueeze", axis, x.rank + 1) });
}

/**
 * `x` with `value` around it: `padding[i]` is [before, after] of the i-th axis. Throws when an entry is negative
 * or missing.
 */
export function pad(x: Tensor, padding: PadAttributes["padding"], value = 0): Tensor {
  const valid = padding.length === x.rank && padding.flat().every((n) => Number.isInteger(n) && n >= 0);
  if (!valid)
    throw new Error(
      `pad: padding ${JSON.stringify(padding)} must be ${x.rank} pairs of integers >= 0 for ${formatShape(x.shape)}`,
    );
  return padding.flat().every((n) => n === 0) ? x : padOp([x], { padding, value });
}

/**
 * Cuts `x` along `axis` into views of the given extents, or of `parts` equal ones when a number is given.
 * Throws when the extents do not add up to the axis.
 */
export function split(x: Tensor, parts: number | readonly number[], axis = 0): Tensor[] {
  const at = normalizeAxis("split", axis, x.rank);
  const extent = x.shape[at];
  const extents = typeof parts === "number" ? new Array<number>(parts).fill(extent / parts) : parts;
  const total = extents.reduce((sum, n) => sum + n, 0);
  if (total !== extent || !extents.every((n) => Number.isInteger(n) && n >= 0))
    throw new Error(
      `split: axis ${axis} of ${formatShape(x.shape)} does not divide into ${JSON.stringify(parts)}; ` +
        "give extents that add up to it",
    );
  let start = 0;
  return extents.map((n) => {
    start += n;
    return slice(x, at, start - n, start);
  });
}
