/**
 * gather and scatterAdd, each the other's gradient: what was read at an index receives the gradients of all its
 * readers.
 */
import { formatShape, normalizeAxis, type Shape, sizeOf } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { defineOp, type Op, type TensorType } from "../defineOp.ts";
import { accumulate } from "./accumulate.ts";
import { checkIndexDtype } from "./checks.ts";
import { dot, forEachIndex } from "./indexing.ts";

declare module "../../backends/backend.ts" {
  interface KernelAttributes {
    gather: GatherAttributes;
    scatterAdd: ScatterAddAttributes;
  }
}

interface GatherAttributes {
  readonly axis: number;
}

interface ScatterAddAttributes extends GatherAttributes {
  /** Shape of the output. */
  readonly shape: Shape;
}

/** Throws unless an index of shape `index` can address, along `axis`, a tensor of shape `target`. */
function checkShapes(op: string, index: Shape, target: Shape, axis: number): void {
  const fits = index.length === target.length && index.every((n, at) => at === axis || n <= target[at]);
  if (!fits)
    throw new Error(
      `${op}: index ${formatShape(index)} does not fit ${formatShape(target)}: it must have as many dimensions ` +
        `and, but for axis ${axis}, no larger extents; slice() or unsqueeze() it`,
    );
}

const readAt: Op<GatherAttributes> = defineOp({
  name: "gather",
  summary: "out[…, i, …] = x[…, index[…, i, …], …] along `axis`",
  infer([x, index], { axis }) {
    checkIndexDtype("gather", "index", index);
    checkShapes("gather", index.shape, x.shape, axis);
    return { shape: index.shape, dtype: x.dtype };
  },
  reference([x, index], output, { axis }) {
    forEachIndex(output.shape, (position) => {
      const source = [...position];
      source[axis] = index.data[index.offset + dot(position, index.strides)];
      output.data[output.offset + dot(position, output.strides)] = x.data[x.offset + dot(source, x.strides)];
    });
  },
  gradients: [
    ({ gradient, input, inputs, attributes: { axis } }) =>
      addAt([gradient, input(1)], { axis, shape: inputs[0].shape }),
    null,
  ],
  flops: () => 0,
  samples: () => [
    {
      inputs: [{ shape: [3, 5] }, { shape: [3, 2], dtype: "i32", domain: { kind: "index", below: 5 } }],
      attributes: { axis: 1 },
    },
    {
      inputs: [{ shape: [3, 4, 2] }, { shape: [2, 7, 1], dtype: "i32", domain: { kind: "index", below: 4 } }],
      attributes: { axis: 1 },
    },
    {
      inputs: [{ shape: [1] }, { shape: [3], dtype: "i32", domain: { kind: "index", below: 1 } }],
      attributes: { axis: 0 },
    },
    {
      inputs: [{ shape: [2, 3] }, { shape: [0, 3], dtype: "i32", domain: { kind: "index", below: 2 } }],
      attributes: { axis: 0 },
    },
  ],
  draw(source) {
    const shape = source.shape(1, 4);
    const axis = source.integer(0, shape.length - 1);
    const index = shape.map((n, at) => (at === axis ? source.integer(1, 5) : source.integer(1, n)));
    return {
      inputs: [{ shape }, { shape: index, dtype: "i32", domain: { kind: "index", below: shape[axis] } }],
      attributes: { axis },
    };
  },
});

function inferScatterAdd(
  [values, index]: readonly TensorType[],
  { axis, shape }: ScatterAddAttributes,
): TensorType {
  checkIndexDtype("scatterAdd", "index", index);
  if (formatShape(values.shape) !== formatShape(index.shape))
    throw new Error(
      `scatterAdd: values ${formatShape(values.shape)} and index ${formatShape(index.shape)} differ in shape; ` +
        "give one index per value, expand() it if need be",
    );
  checkShapes("scatterAdd", index.shape, shape, axis);
  return { shape, dtype: values.dtype };
}

const addAt: Op<ScatterAddAttributes> = defineOp({
  name: "scatterAdd",
  summary: "zeros of `shape` with out[…, index[…, i, …], …] += values[…, i, …] along `axis`",
  infer: inferScatterAdd,
  reference([values, index], output, { axis }) {
    accumulate(output, (add) => {
      forEachIndex(values.shape, (position) => {
        const target = [...position];
        target[axis] = index.data[index.offset + dot(position, index.strides)];
        add(target, values.data[values.offset + dot(position, values.strides)]);
      });
    });
  },
  gradients: [({ gradient, input, attributes: { axis } }) => readAt([gradient, input(1)], { axis }), null],
  flops: ([values]) => sizeOf(values.shape),
  samples: () => [
    {
      inputs: [{ shape: [3, 2] }, { shape: [3, 2], dtype: "i32", domain: { kind: "index", below: 5 } }],
      attributes: { axis: 1, shape: [3, 5] },
    },
    {
      inputs: [{ shape: [2, 7, 1] }, { shape: [2, 7, 1], dtype: "i32", domain: { kind: "index", below: 3 } }],
      attributes: { axis: 1, shape: [3, 3, 2] },
    },
    {
      inputs: [{ shape: [0] }, { shape: [0], dtype: "i32", domain: { kind: "index", below: 1 } }],
      attributes: { axis: 0, shape: [4] },
    },
  ],
  draw(source) {
    const shape = source.shape(1, 4);
    const axis = source.integer(0, shape.length - 1);
    const index = shape.map((n, at) => (at === axis ? source.integer(1, 5) : source.integer(1, n)));
    return {
      inputs: [
        { shape: index },
        { shape: index, dtype: "i32", domain: { kind: "index", below: shape[axis] } },
      ],
      attributes: { axis, shape },
    };
  },
});

/** Throws when an index points outside an axis; on backends that read asynchronously nothing is checked. */
function checkRange(op: string, index: Tensor, shape: Shape, axis: number): void {
  if (!index.backend.readSync) return;
  const values = index.dataSync();
  const at = values.findIndex((value) => value < 0 || value >= shape[axis]);
  if (at < 0) return;
  let rest = at;
  const position = index.shape.map((_, i) => {
    const size = sizeOf(index.shape.slice(i + 1));
    const entry = Math.floor(rest / size);
    rest %= size;
    return entry;
  });
  throw new Error(
    `${op}: index ${values[at]} at position ${formatShape(position)} is out of range for axis ${axis} of ` +
      `${formatShape(shape)}; use 0 to ${shape[axis] - 1}`,
  );
}

/**
 * out[i][j] = x[index[i][j]][j] for axis 0, x[i][index[i][j]] for axis 1, and so on; the result has the shape of
 * `index` (i32). Throws when the index has other dimensions than `x`, larger extents outside the axis, or, where the
 * backend reads synchronously, points outside the axis.
 */
export function gather(x: Tensor, index: Tensor, axis: number): Tensor {
  const at = normalizeAxis("gather", axis, x.rank);
  checkIndexDtype("gather", "index", index);
  checkShapes("gather", index.shape, x.shape, at);
  checkRange("gather", index, x.shape, at);
  return readAt([x, index], { axis: at });
}

/**
 * Zeros of `shape` to which every value is added at its index along `axis`: out[index[i][j]][j] += values[i][j] for
 * axis 0. `index` (i32) has the shape of `values`. Throws like `gather`.
 */
export function scatterAdd(values: Tensor, index: Tensor, shape: Shape, axis: number): Tensor {
  const at = normalizeAxis("scatterAdd", axis, shape.length);
  inferScatterAdd([values, index], { axis: at, shape });
  checkRange("scatterAdd", index, shape, at);
  return addAt([values, index], { axis: at, shape });
}
