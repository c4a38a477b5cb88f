/** The kernel of the batched matrix product. */
import type { HostView } from "../../backend.ts";
import { gemm, type StridedMatrix } from "./gemm.ts";

export type MatmulAttributes = Readonly<Record<string, never>>;

/** The matrix that the last two axes of `view` span at one index of the axes before them. */
function matrixAt(view: HostView, batch: readonly number[]): StridedMatrix {
  const { data, strides } = view;
  let offset = view.offset;
  batch.forEach((index, axis) => {
    offset += index * strides[axis];
  });
  return { data, offset, rowStride: strides[batch.length], columnStride: strides[batch.length + 1] };
}

/** a [..., M, K] times b [..., K, N] -> [..., M, N]; the leading axes are equal, broadcast ones with stride 0. */
export function matmul([a, b]: readonly HostView[], output: HostView, _attributes: MatmulAttributes): void {
  const rank = output.shape.length;
  const batchShape = output.shape.slice(0, rank - 2);
  const M = output.shape[rank - 2];
  const N = output.shape[rank - 1];
  const K = a.shape[rank - 1];
  if (batchShape.includes(0)) return;
  const batch = batchShape.map(() => 0);
  for (;;) {
    gemm(M, N, K, matrixAt(a, batch), matrixAt(b, batch), matrixAt(output, batch), false);
    let axis = batch.length - 1;
    while (axis >= 0 && ++batch[axis] === batchShape[axis]) batch[axis--] = 0;
    if (axis < 0) return;
  }
}
