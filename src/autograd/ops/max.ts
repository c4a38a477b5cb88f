/**
 * Maxima over axes. The winner is the first largest element in row-major order, or the first NaN, as in PyTorch; the
 * whole gradient goes to it. It is found again where it is needed instead of being stored.
 */
import type { HostView } from "../../backends/backend.ts";
import {
  formatShape,
  normalizeAxes,
  normalizeAxis,
  type Shape,
  sameShape,
  sizeOf,
} from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { defineOp, type Op, type Sample, type SampleSource, type TensorType } from "../defineOp.ts";
import { accumulate } from "./accumulate.ts";
import { neg } from "./arithmetic.ts";
import { checkSameDtype } from "./checks.ts";
import { dot, forEachIndex } from "./indexing.ts";
import { flatten, reshape } from "./reshape.ts";
import { squeeze } from "./slice.ts";
import { dropAxes, type ReduceAttributes, type ReduceOptions, reducedShape } from "./sum.ts";

declare module "../../backends/backend.ts" {
  interface KernelAttributes {
    max: ReduceAttributes;
    maxInputGradient: ReduceAttributes;
    maxPick: ReduceAttributes;
    argmax: ArgmaxAttributes;
  }
}

interface ArgmaxAttributes {
  readonly axis: number;
}

function inferReduced(op: string, { shape, dtype }: TensorType, axes: readonly number[]): TensorType {
  const reduced = reducedShape(shape, axes);
  if (sizeOf(shape) === 0 && sizeOf(reduced) > 0)
    throw new Error(
      `${op}: ${formatShape(shape)} has no elements along axes ${formatShape(axes)}, so no largest; ` +
        "check how it was sliced",
    );
  return { shape: reduced, dtype };
}

/** Calls `visit` with the index of each reduced element and that of its winner in `x`. */
function forEachWinner(
  x: HostView,
  axes: readonly number[],
  visit: (reduced: readonly number[], winner: readonly number[]) => void,
): void {
  const window = x.shape.map((extent, axis) => (axes.includes(axis) ? extent : 1));
  forEachIndex(reducedShape(x.shape, axes), (reduced) => {
    let winner = reduced;
    let largest = Number.NEGATIVE_INFINITY;
    forEachIndex(window, (step) => {
      const index = reduced.map((i, axis) => i + step[axis]);
      const value = x.data[x.offset + dot(index, x.strides)];
      if (!(value > largest) && !(Number.isNaN(value) && !Number.isNaN(largest))) return;
      winner = index;
      largest = value;
    });
    visit(reduced, winner);
  });
}

function pickWinners(x: HostView, v: HostView, output: HostView, axes: readonly number[]): void {
  forEachWinner(x, axes, (reduced, winner) => {
    output.data[output.offset + dot(reduced, output.strides)] = v.data[v.offset + dot(winner, v.strides)];
  });
}

const settings: readonly { readonly shape: Shape; readonly axes: readonly number[] }[] = [
  { shape: [3, 5], axes: [1] },
  { shape: [2, 3, 7, 1], axes: [0, 2] },
  { shape: [2, 3], axes: [0, 1] },
  { shape: [1], axes: [0] },
  { shape: [], axes: [] },
  { shape: [3, 0], axes: [0] },
];

const drawSetting = (source: SampleSource) => {
  const shape = source.shape(0, 4);
  return { shape, axes: shape.flatMap((_, axis) => (source.boolean() ? [axis] : [])) };
};

const distinct = { kind: "distinct" } as const;

const maxKeepingAxes: Op<ReduceAttributes> = defineOp({
  name: "max",
  summary: "largest element over `axes`",
  infer: ([x], { axes }) => inferReduced("max", x, axes),
  reference: ([x], output, { axes }) => pickWinners(x, x, output, axes),
  gradients: [({ gradient, input, attributes }) => spreadOp([input(0), gradient], attributes)],
  flops: ([x]) => sizeOf(x.shape),
  samples: () =>
    settings.map(({ shape, axes }) => ({ inputs: [{ shape, domain: distinct }], attributes: { axes } })),
  draw(source) {
    const { shape, axes } = drawSetting(source);
    return { inputs: [{ shape, domain: distinct }], attributes: { axes } };
  },
});

function inferInputGradient([x, grad]: readonly TensorType[], { axes }: ReduceAttributes): TensorType {
  checkSameDtype("maxInputGradient", x, grad);
  const reduced = inferReduced("maxInputGradient", x, axes);
  if (!sameShape(grad.shape, reduced.shape))
    throw new Error(
      `maxInputGradient: grad ${formatShape(grad.shape)} is not ${formatShape(reduced.shape)}, the maximum of ` +
        `x ${formatShape(x.shape)} over axes ${formatShape(axes)}; pass the gradient of max's output`,
    );
  return x;
}

const spreading = (shape: Shape, axes: readonly number[]): Sample<ReduceAttributes> => ({
  inputs: [{ shape, domain: distinct }, { shape: reducedShape(shape, axes) }],
  attributes: { axes },
});

const spreadOp: Op<ReduceAttributes> = defineOp({
  name: "maxInputGradient",
  summary: "the gradient at the place of the largest element of x over `axes`, 0 elsewhere",
  infer: inferInputGradient,
  reference([x, grad], output, { axes }) {
    accumulate(output, (add) => {
      forEachWinner(x, axes, (reduced, winner) => {
        add(winner, grad.data[grad.offset + dot(reduced, grad.strides)]);
      });
    });
  },
  gradients: [null, ({ gradient, input, attributes }) => pickOp([input(0), gradient], attributes)],
  flops: ([x]) => sizeOf(x.shape),
  samples: () => settings.map(({ shape, axes }) => spreading(shape, axes)),
  draw(source) {
    const { shape, axes } = drawSetting(source);
    return spreading(shape, axes);
  },
});

function inferPick([x, v]: readonly TensorType[], { axes }: ReduceAttributes): TensorType {
  checkSameDtype("maxPick", x, v);
  if (!sameShape(x.shape, v.shape))
    throw new Error(
      `maxPick: x ${formatShape(x.shape)} and v ${formatShape(v.shape)} differ in shape; ` +
        "v needs a value for each element of x",
    );
  return inferReduced("maxPick", x, axes);
}

const picking = (shape: Shape, axes: readonly number[]): Sample<ReduceAttributes> => ({
  inputs: [{ shape, domain: distinct }, { shape }],
  attributes: { axes },
});

const pickOp: Op<ReduceAttributes> = defineOp({
  name: "maxPick",
  summary: "v at the place of the largest element of x over `axes`",
  infer: inferPick,
  reference: ([x, v], output, { axes }) => pickWinners(x, v, output, axes),
  gradients: [null, ({ gradient, input, attributes }) => spreadOp([input(0), gradient], attributes)],
  flops: ([x]) => sizeOf(x.shape),
  samples: () => settings.map(({ shape, axes }) => picking(shape, axes)),
  draw(source) {
    const { shape, axes } = drawSetting(source);
    return picking(shape, axes);
  },
});

const argmaxKeepingAxis: Op<ArgmaxAttributes> = defineOp({
  name: "argmax",
  summary: "place of the largest element along `axis`, as i32",
  infer: ([x], { axis }) => ({ shape: inferReduced("argmax", x, [axis]).shape, dtype: "i32" }),
  reference([x], output, { axis }) {
    forEachWinner(x, [axis], (reduced, winner) => {
      output.data[output.offset + dot(reduced, output.strides)] = winner[axis];
    });
  },
  gradients: [null],
  flops: ([x]) => sizeOf(x.shape),
  samples: () => [
    { inputs: [{ shape: [3, 5], domain: distinct }], attributes: { axis: 1 } },
    { inputs: [{ shape: [2, 7, 1], domain: distinct }], attributes: { axis: 1 } },
    { inputs: [{ shape: [0, 3], domain: distinct }], attributes: { axis: 1 } },
  ],
  draw(source) {
    const shape = source.shape(1, 4);
    return {
      inputs: [{ shape, domain: distinct }],
      attributes: { axis: source.integer(0, shape.length - 1) },
    };
  },
});

/**
 * The largest element over `axes` (one, several, or all when not given); NaN where there is one. The gradient goes to
 * the first largest. Throws when an axis is out of range, or when there is nothing to choose from.
 */
export function max(x: Tensor, axes?: number | readonly number[], options: ReduceOptions = {}): Tensor {
  const list = normalizeAxes("max", axes, x.rank);
  return dropAxes(maxKeepingAxes([x], { axes: list }), list, options);
}

/** The smallest element over `axes`, otherwise like `max`. */
export function min(x: Tensor, axes?: number | readonly number[], options: ReduceOptions = {}): Tensor {
  return neg(max(neg(x), axes, options));
}

/**
 * The place (i32) of the first largest element along `axis`, or of the first NaN; without an axis, its place among
 * all elements in row-major order. Not differentiable. Throws like `max`.
 */
export function argmax(x: Tensor, axis?: number, { keepDims = false }: ReduceOptions = {}): Tensor {
  if (axis === undefined) {
    const place = squeeze(argmaxKeepingAxis([flatten(x)], { axis: 0 }), 0);
    return keepDims ? reshape(place, new Array<number>(x.rank).fill(1)) : place;
  }
  const at = normalizeAxis("argmax", axis, x.rank);
  return dropAxes(argmaxKeepingAxis([x], { axis: at }), [at], { keepDims });
}
