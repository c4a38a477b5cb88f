/**
 * Matrix products as 1x1 convolutions, matrix by matrix of a stack: a [M, K] times b [K, N] is the convolution of an
 * image of K channels and N pixels with M filters, and a times a transposed b is its weight gradient, whose operands
 * are both read along K. Only a b that is dense along neither axis is copied first.
 */
import type { HostKernel, HostView } from "../../../backend.ts";
import type { Conv2dAttributes } from "../../loops/conv2d.ts";
import type { MatmulAttributes } from "../../loops/matmul.ts";
import { addressOf, type WasmRuntime } from "../runtime.ts";
import type { Conv2dKernels } from "./convolution/index.ts";
import type { PlaneKernels } from "./planes.ts";

const floatBytes = 4;
const pointwiseWindow: Conv2dAttributes = {
  stride: [1, 1],
  padding: [0, 0, 0, 0],
  dilation: [1, 1],
  groups: 1,
};

/** A matrix of a stack: two axes of a view. */
interface Matrix {
  readonly view: HostView;
  readonly offset: number;
  readonly rows: number;
  readonly columns: number;
  readonly rowStride: number;
  readonly columnStride: number;
}

function matrixAt(view: HostView, batch: readonly number[]): Matrix {
  const [rows, columns] = view.shape.slice(-2);
  const [rowStride, columnStride] = view.strides.slice(-2);
  const offset = batch.reduce((sum, index, axis) => sum + index * view.strides[axis], view.offset);
  return { view, offset, rows, columns, rowStride, columnStride };
}

/** Rows as channels of an image of one row of pixels. */
function asImage({ view, offset, rows, columns, rowStride, columnStride }: Matrix): HostView {
  const strides = [rows * rowStride, rowStride, columns, columnStride];
  return { ...view, shape: [1, rows, 1, columns], strides, offset };
}

/** Rows as filters of one pixel. */
function asFilters({ view, offset, rows, columns, rowStride, columnStride }: Matrix): HostView {
  return { ...view, shape: [rows, columns, 1, 1], strides: [rowStride, columnStride, 1, 1], offset };
}

function transposed(matrix: Matrix): Matrix {
  const { rows, columns, rowStride, columnStride } = matrix;
  return { ...matrix, rows: columns, columns: rows, rowStride: columnStride, columnStride: rowStride };
}

/** Indices of all matrices of a stack, the last axis fastest. */
function* stackIndices(shape: readonly number[]): Generator<readonly number[]> {
  const count = shape.reduce((product, extent) => product * extent, 1);
  for (let flat = 0; flat < count; flat++) {
    let rest = flat;
    yield shape
      .map((_, axis) => shape.length - 1 - axis)
      .map((axis) => {
        const index = rest % shape[axis];
        rest = Math.floor(rest / shape[axis]);
        return index;
      })
      .reverse();
  }
}

/** The kernel; what lies outside the shared memory, is not f32 or is empty goes to the loops. */
export function matmulKernel(
  runtime: WasmRuntime,
  { conv2d, conv2dWeightGradient }: Conv2dKernels,
  { copyPlanes }: PlaneKernels,
  fallback: HostKernel<MatmulAttributes>,
): HostKernel<MatmulAttributes> {
  /** b, with its rows dense, in scratch memory. */
  function copied(b: Matrix): Matrix {
    const { view, offset, rows, columns, rowStride, columnStride } = b;
    const address = runtime.scratch("matmul", floatBytes * rows * columns);
    const from = addressOf({ ...view, offset });
    const [row, step] = [floatBytes * rowStride, floatBytes * columnStride];
    const toRow = floatBytes * columns;
    const data = runtime.floatsAt(address, rows * columns);
    copyPlanes(from, 0, row, step, address, 0, toRow, floatBytes, 1, rows, columns);
    return {
      ...{ view: { ...view, data }, offset: 0 },
      ...{ rows, columns, rowStride: columns, columnStride: 1 },
    };
  }

  return ([a, b], output, attributes) => {
    const plainOutput = output.strides.at(-1) === 1 || output.shape.at(-1) === 1;
    const empty = [a, b, output].some(({ shape }) => shape.includes(0));
    if (empty || !plainOutput || !runtime.accepts([a, b, output])) {
      fallback([a, b], output, attributes);
      return;
    }
    for (const batch of stackIndices(output.shape.slice(0, -2))) {
      const [left, right, result] = [a, b, output].map((view) => matrixAt(view, batch));
      const along = left.columnStride === 1 && right.rowStride === 1 && right.columnStride !== 1;
      if (along && result.rowStride === result.columns) {
        const images = [asImage(transposed(right)), asImage(left)];
        const filters = asFilters(result);
        const strides = [result.columns, 1, 1, 1];
        conv2dWeightGradient(images, { ...filters, strides }, pointwiseWindow);
        continue;
      }
      const dense = right.columnStride === 1 ? right : copied(right);
      const target = asImage(result);
      const strides = [...target.strides.slice(0, 3), 1];
      conv2d([asImage(dense), asFilters(left)], { ...target, strides }, pointwiseWindow);
    }
  };
}
