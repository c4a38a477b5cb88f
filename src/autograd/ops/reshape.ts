/** reshape: the same elements in row-major order in another shape; a view where strides allow, else of a copy. */
import { formatShape, normalizeAxis, reshapeStrides, type Shape, sizeOf } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { defineView } from "../defineOp.ts";
import { contiguous } from "./copy.ts";

const reshapeView = defineView<{ readonly shape: Shape }>({
  name: "reshape",
  summary: "the elements of x in row-major order, in another shape",
  layout(input, { shape }) {
    const strides = reshapeStrides(input, shape);
    if (!strides) throw new Error(`reshape: ${formatShape(input.shape)} needs a contiguous copy`);
    return { shape, strides, offset: input.offset };
  },
  gradients: [({ gradient, inputs }) => reshape(gradient, inputs[0].shape)],
  samples: () => [
    { inputs: [{ shape: [2, 6] }], attributes: { shape: [3, 4] } },
    { inputs: [{ shape: [1, 1] }], attributes: { shape: [] } },
    { inputs: [{ shape: [3, 0] }], attributes: { shape: [0, 7] } },
  ],
  draw(source) {
    const shape = source.shape(0, 4);
    return { inputs: [{ shape }], attributes: { shape: source.boolean() ? [sizeOf(shape)] : [...shape, 1] } };
  },
});

/**
 * `x` with another shape; one extent may be -1 and is then worked out. Throws when the element counts differ.
 */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const target = resolve(x.shape, shape);
  return reshapeView(reshapeStrides(x, target) ? x : contiguous(x), { shape: target });
}

/** Merges the axes from `startAxis` to the last into one. Throws when there is no such axis. */
export function flatten(x: Tensor, startAxis = 0): Tensor {
  const start = x.rank === 0 && startAxis === 0 ? 0 : normalizeAxis("flatten", startAxis, x.rank);
  return reshape(x, [...x.shape.slice(0, start), sizeOf(x.shape.slice(start))]);
}

function resolve(from: Shape, shape: Shape): number[] {
  const known = sizeOf(shape.filter((extent) => extent !== -1));
  const target = shape.map((extent) => (extent === -1 ? sizeOf(from) / known : extent));
  const valid = target.every((extent) => Number.isInteger(extent) && extent >= 0);
  if (!valid || sizeOf(target) !== sizeOf(from) || shape.filter((extent) => extent === -1).length > 1)
    throw new Error(
      `reshape: ${formatShape(from)} has ${sizeOf(from)} elements and cannot become ${formatShape(shape)}`,
    );
  return target;
}
