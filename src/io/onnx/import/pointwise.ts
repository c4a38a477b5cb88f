/** ONNX operators that work element by element. */
import {
  abs,
  add,
  clamp,
  div,
  equal,
  exp,
  floor,
  greater,
  greaterEqual,
  hardSwish,
  leakyRelu,
  less,
  lessEqual,
  log,
  maximum,
  minimum,
  mish,
  mul,
  neg,
  pow,
  relu,
  reshape,
  sigmoid,
  sign,
  softplus,
  sqrt,
  sub,
  tanh,
  to,
  where,
} from "../../../autograd/index.ts";
import { isFloat } from "../../../backends/dtype.ts";
import { tensor as makeTensor, ones } from "../../../tensor/create.ts";
import { broadcastShapes, formatShape, sizeOf } from "../../../tensor/layout.ts";
import type { Tensor } from "../../../tensor/tensor.ts";
import { dtypeOfStored } from "../../elements.ts";
import { formatOfDataType } from "../tensors.ts";
import type { NodeInputs, NodeReader, Operator, OperatorTable } from "./node.ts";

const unary =
  (compute: (x: Tensor) => Tensor): Operator =>
  () =>
  (inputs) => [compute(inputs.tensor(0))];

/** Throws when tensors broadcast to more elements than any network has: two long vectors make a huge table. */
function checkBroadcast(node: NodeReader, ...operands: readonly Tensor[]): void {
  node.checkSize(broadcastShapes(node.title, ...operands.map(({ shape }) => shape)));
}

const binary =
  (compute: (a: Tensor, b: Tensor) => Tensor): Operator =>
  (node) =>
  (inputs) => {
    const [a, b] = [inputs.tensor(0), inputs.tensor(1)];
    checkBroadcast(node, a, b);
    return [compute(a, b)];
  };

/** Before opset 7, the axis of a from which on b has its extents was an attribute; without it, b has the last ones. */
const arithmetic =
  (compute: (a: Tensor, b: Tensor) => Tensor): Operator =>
  (node) => {
    if (node.opset >= 7 || !node.flag("broadcast", false)) return binary(compute)(node);
    const axis = node.has("axis") ? node.integer("axis") : null;
    return (inputs) => {
      const [a, b] = [inputs.tensor(0), inputs.tensor(1)];
      const trailing = axis === null ? 0 : a.rank - node.axis(axis, a.rank) - b.rank;
      if (trailing < 0)
        throw node.error(`aligns ${formatShape(b.shape)} with ${formatShape(a.shape)} at axis ${axis}`);
      return [compute(a, reshape(b, [...b.shape, ...new Array<number>(trailing).fill(1)]))];
    };
  };

/** Before opset 7, a slope per channel was a vector. */
const prelu: Operator = (node) => (inputs) => {
  const [x, slope] = [inputs.tensor(0), inputs.tensor(1)];
  const perChannel = node.opset < 7 && slope.rank === 1 && slope.size > 1 && x.rank > 2;
  const aligned = perChannel ? reshape(slope, [slope.size, ...new Array<number>(x.rank - 2).fill(1)]) : slope;
  return [where(less(x, 0), mul(x, aligned), x)];
};

/** An operator of any number of inputs, computed two by two. */
const variadic =
  (compute: (a: Tensor, b: Tensor) => Tensor): Operator =>
  (node) =>
  (inputs) => {
    const tensors = inputs.tensors();
    checkBroadcast(node, ...tensors);
    return [tensors.reduce(compute)];
  };

/** Integers are divided towards zero, on the host: shapes are computed so. */
function divide(a: Tensor, b: Tensor): Tensor {
  if (isFloat(a.dtype)) return div(a, b);
  const shape = broadcastShapes("Div", a.shape, b.shape);
  const count = sizeOf(shape);
  const [x, y] = [a, b].map((operand) =>
    operand.add(makeTensor(new Int32Array(count), { shape, dtype: a.dtype })),
  );
  const [over, under] = [x.dataSync(), y.dataSync()];
  const quotients = Int32Array.from({ length: count }, (_, i) => over[i] / under[i]);
  return makeTensor(quotients, { shape, dtype: a.dtype });
}

/** The power in the dtype of the base; of integers in f64, which holds every i32 and rounds to the nearest. */
function raise(base: Tensor, exponent: Tensor): Tensor {
  if (isFloat(base.dtype)) return pow(base, to(exponent, base.dtype));
  const power = pow(to(base, "f64"), to(exponent, "f64"));
  return to(isFloat(exponent.dtype) ? power : floor(add(power, 0.5)), base.dtype);
}

/** x limited to bounds that may be missing. */
function limit(x: Tensor, low: number, high: number): Tensor {
  if (isFloat(x.dtype) && low <= high) return clamp(x, low, high);
  const raised = Number.isFinite(low) ? maximum(x, low) : x;
  return Number.isFinite(high) ? minimum(raised, high) : raised;
}

function clip(node: NodeReader): (inputs: NodeInputs) => Tensor[] {
  if (node.opset < 11) {
    const low = node.float("min", Number.NEGATIVE_INFINITY);
    const high = node.float("max", Number.POSITIVE_INFINITY);
    return (inputs) => [limit(inputs.tensor(0), low, high)];
  }
  return (inputs) => {
    const low = inputs.optionalNumbers(1)?.[0] ?? Number.NEGATIVE_INFINITY;
    const high = inputs.optionalNumbers(2)?.[0] ?? Number.POSITIVE_INFINITY;
    return [limit(inputs.tensor(0), low, high)];
  };
}

function dropout(node: NodeReader): (inputs: NodeInputs) => Tensor[] {
  node.limitOutputs(2);
  node.checkInference();
  node.ignore("ratio");
  node.ignore("seed");
  return (inputs) => {
    if (inputs.optionalNumbers(2)?.[0])
      throw node.error("is in training mode; export the model for inference");
    const x = inputs.tensor(0);
    return node.outputCount > 1 ? [x, ones(x.shape, { dtype: "bool" })] : [x];
  };
}

function cast(node: NodeReader): (inputs: NodeInputs) => Tensor[] {
  node.ignore("saturate");
  const dataType = node.integer("to");
  const format = formatOfDataType(dataType);
  if (!format)
    throw node.error(`casts to type ${dataType} (of TensorProto.DataType), which is not supported`);
  return (inputs) => [to(inputs.tensor(0), dtypeOfStored(format))];
}

const leaky: Operator = (node) => {
  const alpha = node.float("alpha", 0.01);
  return (inputs) => [leakyRelu(inputs.tensor(0), alpha)];
};

const elu: Operator = (node) => {
  const alpha = node.float("alpha", 1);
  return (inputs) => {
    const x = inputs.tensor(0);
    return [where(less(x, 0), mul(sub(exp(x), 1), alpha), x)];
  };
};

const hardSigmoid: Operator = (node) => {
  const [alpha, beta] = [node.float("alpha", 0.2), node.float("beta", 0.5)];
  return (inputs) => [clamp(add(mul(inputs.tensor(0), alpha), beta), 0, 1)];
};

export const pointwiseOperators: OperatorTable = {
  Abs: unary(abs),
  Add: arithmetic(add),
  And: binary((a, b) => where(a, b, a)),
  Cast: cast,
  Ceil: unary((x) => neg(floor(neg(x)))),
  Clip: clip,
  Div: arithmetic(divide),
  Dropout: dropout,
  Elu: elu,
  Equal: binary(equal),
  Exp: unary(exp),
  Floor: unary(floor),
  Greater: binary(greater),
  GreaterOrEqual: binary(greaterEqual),
  HardSigmoid: hardSigmoid,
  HardSwish: unary(hardSwish),
  Identity: () => (inputs) => [inputs.value(0)],
  LeakyRelu: leaky,
  Less: binary(less),
  LessOrEqual: binary(lessEqual),
  Log: unary(log),
  Max: variadic(maximum),
  Mean: (node) => (inputs) => {
    const tensors = inputs.tensors();
    checkBroadcast(node, ...tensors);
    return [div(tensors.reduce(add), inputs.count)];
  },
  Min: variadic(minimum),
  Mish: unary(mish),
  Mul: arithmetic(mul),
  Neg: unary(neg),
  Not: unary((x) => equal(x, 0)),
  Or: binary((a, b) => where(a, a, b)),
  PRelu: prelu,
  Pow: arithmetic(raise),
  Reciprocal: unary((x) => div(1, x)),
  Relu: unary(relu),
  Sigmoid: unary(sigmoid),
  Sign: unary(sign),
  Softplus: unary(softplus),
  Softsign: unary((x) => div(x, add(abs(x), 1))),
  Sqrt: unary(sqrt),
  Sub: arithmetic(sub),
  Sum: variadic(add),
  Tanh: unary(tanh),
  Where: (node) => (inputs) => {
    const [condition, yes, no] = [0, 1, 2].map((index) => inputs.tensor(index));
    checkBroadcast(node, condition, yes, no);
    return [where(condition, yes, no)];
  },
};
