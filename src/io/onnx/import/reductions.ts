/** ONNX operators that reduce axes, products of matrices, and softmax. */
import {
  abs,
  add,
  argmax,
  log,
  logSoftmax,
  logSumExp,
  matmul,
  max,
  mean,
  min,
  mul,
  type ReduceOptions,
  reshape,
  softmax,
  sqrt,
  square,
  sum,
  transpose,
} from "../../../autograd/index.ts";
import { formatShape, sizeOf } from "../../../tensor/layout.ts";
import type { Tensor } from "../../../tensor/tensor.ts";
import type { Operator, OperatorTable } from "./node.ts";
import { take } from "./take.ts";

type Reduce = (x: Tensor, axes: readonly number[], options: ReduceOptions) => Tensor;

/** `since`: the opset from which on the axes are an input. */
const reduction =
  (reduce: Reduce, since = 18): Operator =>
  (node) => {
    const keepDims = node.flag("keepdims", true);
    const noneIsAll = !node.flag("noop_with_empty_axes", false);
    const fixed = node.opset < since ? node.integers("axes") : null;
    return (inputs) => {
      const x = inputs.tensor(0);
      const given = (node.opset < since ? fixed : inputs.optionalNumbers(1)) ?? [];
      if (given.length === 0 && !noneIsAll) return [x];
      const axes =
        given.length > 0 ? given.map((axis) => node.axis(axis, x.rank)) : x.shape.map((_, axis) => axis);
      return [reduce(x, axes, { keepDims })];
    };
  };

const largest: Operator = (node) => {
  const axis = node.integer("axis", 0);
  const keepDims = node.flag("keepdims", true);
  const last = node.flag("select_last_index", false);
  return (inputs) => {
    const x = inputs.tensor(0);
    const at = node.axis(axis, x.rank);
    if (!last) return [argmax(x, at, { keepDims })];
    // Read backwards, the last of equal elements comes first.
    const end = x.shape[at] - 1;
    node.checkListed(end);
    const backwards = take(
      x,
      at,
      Array.from({ length: end + 1 }, (_, i) => end - i),
    );
    return [add(mul(argmax(backwards, at, { keepDims }), -1), end)];
  };
};

/** Before opset 13, the axes from `axis` on counted as one. */
const alongAxis =
  (compute: (x: Tensor, axis: number) => Tensor): Operator =>
  (node) => {
    const axis = node.integer("axis", node.opset < 13 ? 1 : -1);
    return (inputs) => {
      const x = inputs.tensor(0);
      const at = node.axis(axis, x.rank);
      if (node.opset >= 13) return [compute(x, at)];
      const rows = [sizeOf(x.shape.slice(0, at)), sizeOf(x.shape.slice(at))];
      return [reshape(compute(reshape(x, rows), 1), x.shape)];
    };
  };

const gemm: Operator = (node) => {
  const [alpha, beta] = [node.float("alpha", 1), node.float("beta", 1)];
  const [transA, transB] = [node.flag("transA", false), node.flag("transB", false)];
  // Before opset 7 the file said whether the third input broadcasts; it does so in any case.
  if (node.opset < 7) node.ignore("broadcast");
  const scaled = (x: Tensor, factor: number): Tensor => (factor === 1 ? x : mul(x, factor));
  return (inputs) => {
    const [a, b, c] = [inputs.tensor(0), inputs.tensor(1), inputs.optionalTensor(2)];
    if (a.rank !== 2 || b.rank !== 2)
      throw node.error(
        `multiplies ${formatShape(a.shape)} and ${formatShape(b.shape)}; both must be matrices`,
      );
    const product = scaled(matmul(transA ? transpose(a) : a, transB ? transpose(b) : b), alpha);
    return [c ? add(product, scaled(c, beta)) : product];
  };
};

export const reductionOperators: OperatorTable = {
  ArgMax: largest,
  Gemm: gemm,
  LogSoftmax: alongAxis(logSoftmax),
  MatMul: () => (inputs) => [matmul(inputs.tensor(0), inputs.tensor(1))],
  ReduceL1: reduction((x, axes, options) => sum(abs(x), axes, options)),
  ReduceL2: reduction((x, axes, options) => sqrt(sum(square(x), axes, options))),
  ReduceLogSum: reduction((x, axes, options) => log(sum(x, axes, options))),
  ReduceLogSumExp: reduction(logSumExp),
  ReduceMax: reduction(max),
  ReduceMean: reduction(mean),
  ReduceMin: reduction(min),
  ReduceSum: reduction(sum, 13),
  ReduceSumSquare: reduction((x, axes, options) => sum(square(x), axes, options)),
  Softmax: alongAxis(softmax),
};
