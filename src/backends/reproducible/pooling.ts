/**
 * Pooling and resizing. Where windows are alike they are one sum over a view; where they are not (adaptive pooling,
 * resizing), and where a pixel collects from overlapping windows, the pieces are added one after the other in the order
 * of the windows, each addition rounded, which is the same on every backend as well.
 */
import type { Layout, Shape } from "../backend.ts";
import { readersOf, windowsOf } from "./contractions.ts";
import { constant, divided, input, mixed, plus, plusScaled, quotient, shifted } from "./expressions.ts";
import { type Machine, type Recipe, sizeOf, through } from "./machine.ts";

interface PoolAttributes {
  readonly kernelSize: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly padding: readonly [number, number, number, number];
  readonly dilation: readonly [number, number];
}

interface AverageAttributes extends PoolAttributes {
  readonly countIncludePad: boolean;
}

/** `parts[axis]` of an axis of `view` as a view. */
function slice<V extends Layout>(view: V, axis: number, start: number, length: number): V {
  const shape = view.shape.map((extent, at) => (at === axis ? length : extent));
  return through(view, shape, view.strides, view.offset + start * view.strides[axis]);
}

/** What each window's sum is divided by, as if of the images' shape [N, C, P, Q]. */
function tapCounts<V extends Layout>(
  machine: Machine<V>,
  [N, C, P, Q]: Shape,
  [H, W]: readonly [number, number],
  attributes: AverageAttributes,
): V {
  const counts = machine.temporary([1, 1, P, Q]);
  const ones = machine.temporary([1, 1, H, W]);
  machine.pointwise([], ones, constant(1));
  const taps = attributes.kernelSize;
  machine.sum(windowsOf(machine, ones, { ...attributes, taps }, [P, Q]), null, counts);
  return through(counts, [N, C, P, Q], [0, 0, counts.strides[2], counts.strides[3]]);
}

/** `windows` divided by how many taps count, into `output`. A window of margin only has the sum 0, and stays 0. */
function average<V extends Layout>(
  machine: Machine<V>,
  windows: V,
  output: V,
  image: readonly [number, number],
  attributes: AverageAttributes,
): void {
  if (attributes.countIncludePad)
    machine.pointwise([windows], output, divided, [sizeOf(attributes.kernelSize)]);
  else {
    const counts = tapCounts(machine, windows.shape, image, attributes);
    machine.pointwise([windows, counts], output, averaged);
  }
}

/** a / b, and 0 where b is 0 */
const averaged = {
  kind: "select",
  test: input(1),
  yes: quotient,
  no: constant(0),
} as const;

export const avgPool2d: Recipe<AverageAttributes> = ({ machine, inputs: [x], output, attributes }) => {
  if (sizeOf(output.shape) === 0) return;
  const [, , H, W] = x.shape;
  const [, , P, Q] = output.shape;
  machine.sum(windowsOf(machine, x, { ...attributes, taps: attributes.kernelSize }, [P, Q]), null, output);
  average(machine, output, output, [H, W], attributes);
};

export const avgPool2dInputGradient: Recipe<AverageAttributes> = ({
  machine,
  inputs: [gradient],
  output,
  attributes,
}) => {
  if (sizeOf(output.shape) === 0) return;
  const [, , H, W] = output.shape;
  const shares = machine.temporary(gradient.shape);
  if (sizeOf(gradient.shape) > 0) average(machine, gradient, shares, [H, W], attributes);
  machine.sum(
    readersOf(machine, shares, { ...attributes, taps: attributes.kernelSize }, [H, W]),
    null,
    output,
  );
};

/** Rows (or columns) of window `i` of `outputs`. */
function bounds(i: number, extent: number, outputs: number): { start: number; length: number } {
  const start = Math.floor((i * extent) / outputs);
  return { start, length: Math.ceil(((i + 1) * extent) / outputs) - start };
}

/** Calls `visit` with every window of `images`, its one pixel of `pooled`, and how many elements it has. */
function forEachAdaptiveWindow<V extends Layout>(
  images: V,
  pooled: V,
  visit: (window: V, pixel: V, count: number) => void,
): void {
  const [, , H, W] = images.shape;
  const [, , P, Q] = pooled.shape;
  for (let p = 0; p < P; p++)
    for (let q = 0; q < Q; q++) {
      const [rows, columns] = [bounds(p, H, P), bounds(q, W, Q)];
      const window = slice(slice(images, 2, rows.start, rows.length), 3, columns.start, columns.length);
      visit(window, slice(slice(pooled, 2, p, 1), 3, q, 1), rows.length * columns.length);
    }
}

export const adaptiveAvgPool2d: Recipe<unknown> = ({ machine, inputs: [x], output }) => {
  if (sizeOf(output.shape) === 0) return;
  forEachAdaptiveWindow(x, output, (window, pixel, count) => {
    const sums = through(pixel, pixel.shape.slice(0, 2), pixel.strides.slice(0, 2));
    machine.sum(window, null, sums);
    machine.pointwise([pixel], pixel, divided, [count]);
  });
};

export const adaptiveAvgPool2dInputGradient: Recipe<unknown> = ({ machine, inputs: [gradient], output }) => {
  if (sizeOf(output.shape) === 0) return;
  machine.pointwise([], output, constant(0));
  const share = machine.temporary([...output.shape.slice(0, 2), 1, 1]);
  forEachAdaptiveWindow(output, gradient, (window, pixel, count) => {
    machine.pointwise([pixel], share, divided, [count]);
    const everywhere = through(share, window.shape, [...share.strides.slice(0, 2), 0, 0]);
    machine.pointwise([window, everywhere], window, plus);
  });
};

/**
 * The plain kernel is exact where no two windows share a pixel. So the windows are split into classes that are far enough
 * apart, the gradient of all others being 0, and the classes are added up.
 */
export const maxPool2dInputGradient: Recipe<PoolAttributes> = ({
  machine,
  inputs: [x, gradient],
  inputs,
  output,
  attributes,
  plain,
}) => {
  const { kernelSize, stride, dilation } = attributes;
  const [N, C, P, Q] = gradient.shape;
  const classes = ([0, 1] as const).map((axis) =>
    Math.min(
      Math.max(1, axis === 0 ? P : Q),
      Math.ceil(((kernelSize[axis] - 1) * dilation[axis] + 1) / stride[axis]),
    ),
  );
  if (sizeOf(output.shape) === 0 || (classes[0] === 1 && classes[1] === 1)) {
    plain(inputs, output, attributes);
    return;
  }
  machine.pointwise([], output, constant(0));
  const own = machine.temporary(gradient.shape);
  const spread = machine.temporary(x.shape);
  for (let a = 0; a < classes[0]; a++)
    for (let b = 0; b < classes[1]; b++) {
      const pick = (view: typeof own): typeof own => {
        const [n, c, p, q] = view.strides;
        return through(
          view,
          [N, C, Math.ceil((P - a) / classes[0]), Math.ceil((Q - b) / classes[1])],
          [n, c, p * classes[0], q * classes[1]],
          view.offset + a * p + b * q,
        );
      };
      machine.pointwise([], own, constant(0));
      machine.pointwise([pick(gradient)], pick(own), input(0));
      plain([x, own], spread, attributes);
      machine.pointwise([output, spread], output, plus);
    }
};

interface UpsampleAttributes {
  readonly mode: "nearest" | "bilinear";
  readonly size: readonly [number, number];
  readonly scale: readonly [number, number] | null;
  readonly alignCorners: boolean;
}

/** The two input rows (or columns) that output row `i` is made of, and the share of the second. */
function tapsOf(
  i: number,
  extent: number,
  outputs: number,
  axis: 0 | 1,
  { mode, scale, alignCorners }: UpsampleAttributes,
): { readonly first: number; readonly second: number; readonly share: number } {
  const inInput = (coordinate: number): number =>
    scale ? coordinate / scale[axis] : (coordinate * extent) / outputs;
  if (mode === "nearest") {
    const first = Math.min(Math.floor(inInput(i)), extent - 1);
    return { first, second: first, share: 0 };
  }
  const coordinate = alignCorners
    ? (i * (extent - 1)) / Math.max(1, outputs - 1)
    : Math.max(0, inInput(i + 0.5) - 0.5);
  const first = Math.min(Math.floor(coordinate), extent - 1);
  return { first, second: Math.min(first + 1, extent - 1), share: coordinate - first };
}

/** Resizes one axis (2 or 3) of `x` into `output`. */
function resizeAxis<V extends Layout>(
  machine: Machine<V>,
  x: V,
  output: V,
  axis: 2 | 3,
  attributes: UpsampleAttributes,
): void {
  const outputs = output.shape[axis];
  for (let i = 0; i < outputs; i++) {
    const { first, second, share } = tapsOf(i, x.shape[axis], outputs, axis === 2 ? 0 : 1, attributes);
    machine.pointwise(
      [slice(x, axis, first, 1), slice(x, axis, second, 1)],
      slice(output, axis, i, 1),
      mixed,
      [1 - share, share],
    );
  }
}

/** Rows first, then columns, each a mean of two that is rounded. */
export const upsample: Recipe<UpsampleAttributes> = ({
  machine,
  inputs: [x],
  inputs,
  output,
  attributes,
  plain,
}) => {
  if (sizeOf(output.shape) === 0) return;
  if (attributes.mode === "nearest") {
    plain(inputs, output, attributes);
    // Some kernels copy −0, others add it to 0.
    machine.pointwise([output], output, shifted, [0]);
    return;
  }
  const [N, C, , W] = x.shape;
  const rows = machine.temporary([N, C, attributes.size[0], W]);
  resizeAxis(machine, x, rows, 2, attributes);
  resizeAxis(machine, rows, output, 3, attributes);
};

/** The adjoint of `resizeAxis`. */
function spreadAxis<V extends Layout>(
  machine: Machine<V>,
  gradient: V,
  output: V,
  axis: 2 | 3,
  attributes: UpsampleAttributes,
): void {
  const outputs = gradient.shape[axis];
  machine.pointwise([], output, constant(0));
  for (let i = 0; i < outputs; i++) {
    const { first, second, share } = tapsOf(i, output.shape[axis], outputs, axis === 2 ? 0 : 1, attributes);
    const piece = slice(gradient, axis, i, 1);
    const add = (at: number, weight: number): void => {
      const target = slice(output, axis, at, 1);
      machine.pointwise([target, piece], target, plusScaled, [weight]);
    };
    add(first, 1 - share);
    if (share !== 0) add(second, share);
  }
}

/** Columns first, then rows: the adjoint of the resizing, step by step. */
export const upsampleInputGradient: Recipe<UpsampleAttributes> = ({
  machine,
  inputs: [gradient],
  output,
  attributes,
}) => {
  if (sizeOf(output.shape) === 0) return;
  const [N, C, P] = gradient.shape;
  const columns = machine.temporary([N, C, P, output.shape[3]]);
  spreadAxis(machine, gradient, columns, 3, attributes);
  spreadAxis(machine, columns, output, 2, attributes);
};
