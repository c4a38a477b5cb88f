/** matmul: the product of matrices, of stacks of matrices, and of vectors. */
import { broadcastShapes, formatShape, type Shape, sameShape, sizeOf } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { defineOp, type Op, type TensorType } from "../defineOp.ts";
import { checkFloats } from "./checks.ts";
import { dot, forEachIndex } from "./indexing.ts";
import { transpose } from "./permute.ts";
import { reshape } from "./reshape.ts";
import { squeeze, unsqueeze } from "./slice.ts";
import { expand } from "./sum.ts";

type MatmulAttributes = Readonly<Record<string, never>>;

declare module "../../backends/backend.ts" {
  interface KernelAttributes {
    matmul: MatmulAttributes;
  }
}

function checkInner(a: Shape, b: Shape, columns: number | undefined, rows: number | undefined): void {
  if (columns !== rows)
    throw new Error(
      `matmul: a ${formatShape(a)} has ${columns} columns, b ${formatShape(b)} has ${rows} rows; ` +
        "they must be equal, transpose() one of them or check its shape",
    );
}

function inferMatmul([a, b]: readonly TensorType[]): TensorType {
  checkFloats("matmul", a, b);
  const batch = a.shape.slice(0, -2);
  if (a.shape.length < 2 || !sameShape(batch, b.shape.slice(0, -2)))
    throw new Error(
      `matmul: a ${formatShape(a.shape)} and b ${formatShape(b.shape)} are not stacks of equally many matrices; ` +
        "expand() them first",
    );
  checkInner(a.shape, b.shape, a.shape.at(-1), b.shape.at(-2));
  return { shape: [...a.shape.slice(0, -1), ...b.shape.slice(-1)], dtype: a.dtype };
}

/**
 * Whether columns lie in memory as rows do elsewhere: transpose(weight) of a linear layer. Its gradient is made in that
 * layout too, since turning it about afterwards took 2.5 ms for 1024 x 1000, more than all else of the layer.
 */
const isTurned = ({ strides }: Tensor): boolean => strides[strides.length - 2] < strides[strides.length - 1];

const product: Op<MatmulAttributes> = defineOp({
  name: "matmul",
  summary: "Σₖ a[…, m, k] · b[…, k, n]",
  infer: inferMatmul,
  reference([a, b], output) {
    const depth = a.shape[a.shape.length - 1];
    forEachIndex(output.shape, (index) => {
      const batch = index.slice(0, -2);
      const [m, n] = index.slice(-2);
      let sum = 0;
      for (let k = 0; k < depth; k++)
        sum +=
          a.data[a.offset + dot([...batch, m, k], a.strides)] *
          b.data[b.offset + dot([...batch, k, n], b.strides)];
      output.data[output.offset + dot(index, output.strides)] = sum;
    });
  },
  gradients: [
    ({ gradient, input }) => product([gradient, transpose(input(1))], {}),
    ({ gradient, input }) =>
      isTurned(input(1))
        ? transpose(product([transpose(gradient), input(0)], {}))
        : product([transpose(input(0)), gradient], {}),
  ],
  flops: ([a], output) => 2 * sizeOf(output.shape) * a.shape[a.shape.length - 1],
  samples: () => [
    { inputs: [{ shape: [3, 5] }, { shape: [5, 2] }], attributes: {} },
    { inputs: [{ shape: [1, 1] }, { shape: [1, 1] }], attributes: {} },
    { inputs: [{ shape: [2, 3, 7, 1] }, { shape: [2, 3, 1, 5] }], attributes: {} },
    { inputs: [{ shape: [2, 0] }, { shape: [0, 3] }], attributes: {} },
    { inputs: [{ shape: [0, 2, 3] }, { shape: [0, 3, 1] }], attributes: {} },
  ],
  draw(source) {
    const batch = source.shape(0, 2);
    const [m, k, n] = source.shape(3, 3);
    return { inputs: [{ shape: [...batch, m, k] }, { shape: [...batch, k, n] }], attributes: {} };
  },
});

/**
 * The matrix product with PyTorch's rules: a [..., M, K] times b [..., K, N] -> [..., M, N], where the leading axes
 * broadcast. A vector `a` counts as one row, a vector `b` as one column, and that axis is dropped from the result.
 * Throws for scalars, when a's columns are not as many as b's rows, or when the leading axes do not broadcast.
 */
export function matmul(a: Tensor, b: Tensor): Tensor {
  if (a.rank === 0 || b.rank === 0)
    throw new Error(
      `matmul: a ${formatShape(a.shape)} and b ${formatShape(b.shape)} must have at least one dimension; ` +
        "multiply by a scalar with mul()",
    );
  checkInner(a.shape, b.shape, a.shape.at(-1), b.shape.at(b.rank === 1 ? 0 : -2));
  if (b.rank === 1) return squeeze(matmul(a, unsqueeze(b, 1)), -1);
  if (a.rank === 1) return squeeze(matmul(unsqueeze(a, 0), b), -2);
  const [rows, depth] = a.shape.slice(-2);
  const columns = b.shape[b.rank - 1];
  // A stack against one matrix is a single tall product, and that matrix's gradient then needs no sum of a stack.
  if (a.rank > 2 && b.rank === 2)
    return reshape(product([reshape(a, [sizeOf(a.shape.slice(0, -1)), depth]), b], {}), [
      ...a.shape.slice(0, -1),
      columns,
    ]);
  const batch = broadcastShapes("matmul", a.shape.slice(0, -2), b.shape.slice(0, -2));
  return product([expand(a, [...batch, rows, depth]), expand(b, [...batch, depth, columns])], {});
}
