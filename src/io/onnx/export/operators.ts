/** Structured ops as ONNX nodes. */
import type { GraphNode } from "../../../graph/index.ts";
import { sizeOf } from "../../../tensor/layout.ts";
import { onnxDataTypes } from "../model.ts";
import { exportError, flagOf, isPointwise, numberOf, numbersOf, pairsOf, textOf } from "./attributes.ts";
import type { AttributeValue, Emitter } from "./emitter.ts";
import { emitPointwise } from "./pointwise.ts";
import { emitUpsample } from "./upsample.ts";

/** Emits the nodes of an op and returns the name of its result. */
type Emit = (emitter: Emitter, node: GraphNode) => string;

const shapeOf = (emitter: Emitter, value: number): readonly number[] =>
  emitter.recording.graph.values[value].shape;

const operands = (emitter: Emitter, { inputs }: GraphNode): string[] =>
  inputs.map((value) => emitter.operand(value));

/** ONNX lists the margins of all axes' beginnings, then of their ends; ours are top, bottom, left, right. */
const onnxPads = ([top, bottom, left, right]: readonly number[]): number[] => [top, left, bottom, right];

function conv(emitter: Emitter, node: GraphNode): string {
  const [, , ...kernel] = shapeOf(emitter, node.inputs[1]);
  return emitter.node("Conv", operands(emitter, node), {
    kernel_shape: kernel,
    strides: numbersOf(node, "stride"),
    pads: onnxPads(numbersOf(node, "padding")),
    dilations: numbersOf(node, "dilation"),
    group: numberOf(node, "groups"),
  });
}

const poolAttributes = (node: GraphNode): Record<string, AttributeValue> => ({
  kernel_shape: numbersOf(node, "kernelSize"),
  strides: numbersOf(node, "stride"),
  pads: onnxPads(numbersOf(node, "padding")),
});

function averagePool(emitter: Emitter, node: GraphNode): string {
  if (numbersOf(node, "dilation").some((step) => step !== 1))
    throw exportError(
      node,
      "has a dilation, which ONNX has only from opset 19 on; pool without, or convolve",
    );
  return emitter.node("AveragePool", operands(emitter, node), {
    ...poolAttributes(node),
    count_include_pad: Number(flagOf(node, "countIncludePad")),
  });
}

/** The matrix [outputs, extent] that averages the windows of adaptive pooling along one axis. */
function averagingMatrix(extent: number, outputs: number): number[] {
  return Array.from({ length: outputs * extent }, (_, i) => {
    const [window, at] = [Math.floor(i / extent), i % extent];
    const start = Math.floor((window * extent) / outputs);
    const end = Math.ceil(((window + 1) * extent) / outputs);
    return at >= start && at < end ? 1 / (end - start) : 0;
  });
}

function adaptiveAveragePool(emitter: Emitter, node: GraphNode): string {
  const [x] = operands(emitter, node);
  const [, , H, W] = shapeOf(emitter, node.inputs[0]);
  const [P, Q] = numbersOf(node, "outputSize");
  if (P === 1 && Q === 1) return emitter.node("GlobalAveragePool", [x]);
  if (H % P === 0 && W % Q === 0) {
    const window = [H / P, W / Q];
    return emitter.node("AveragePool", [x], { kernel_shape: window, strides: window });
  }
  // Windows of different sizes: ONNX has no such pooling, but each axis is averaged by a matrix.
  const { dtype } = emitter.recording.graph.values[node.inputs[0]];
  const rows = emitter.numbers(averagingMatrix(H, P), dtype, [P, H]);
  const columns = emitter.numbers(averagingMatrix(W, Q), dtype, [Q, W]);
  const transposed = emitter.node("Transpose", [columns], { perm: [1, 0] });
  return emitter.node("MatMul", [rows, emitter.node("MatMul", [x, transposed])]);
}

function reshapeOp(emitter: Emitter, node: GraphNode): string {
  const [x] = operands(emitter, node);
  const from = shapeOf(emitter, node.inputs[0]);
  const to = numbersOf(node, "shape");
  // 0 copies the extent: where the batch stays the first axis, its size is not written into the file.
  const keepsFirst = from.length > 0 && to.length > 0 && from[0] === to[0] && sizeOf(from) > 0;
  return emitter.node("Reshape", [x, emitter.integers(keepsFirst ? [0, ...to.slice(1)] : to)]);
}

function sliceOp(emitter: Emitter, node: GraphNode): string {
  const [x] = operands(emitter, node);
  const shape = shapeOf(emitter, node.inputs[0]);
  const cut = pairsOf(node, "ranges").flatMap(([start, end], axis) =>
    start === 0 && end === shape[axis] ? [] : [{ axis, start, end }],
  );
  if (cut.length === 0) return emitter.node("Identity", [x]);
  const lists = [cut.map(({ start }) => start), cut.map(({ end }) => end), cut.map(({ axis }) => axis)];
  return emitter.node("Slice", [x, ...lists.map((list) => emitter.integers(list))]);
}

function padOp(emitter: Emitter, node: GraphNode): string {
  const [x] = operands(emitter, node);
  const padding = pairsOf(node, "padding");
  const pads = [...padding.map(([before]) => before), ...padding.map(([, after]) => after)];
  const { dtype } = emitter.recording.graph.values[node.inputs[0]];
  return emitter.node("Pad", [x, emitter.integers(pads), emitter.scalar(numberOf(node, "value"), dtype)]);
}

function sumOp(emitter: Emitter, node: GraphNode): string {
  const { values } = emitter.recording.graph;
  const [x] = operands(emitter, node);
  const { dtype } = values[node.output];
  const counted =
    values[node.inputs[0]].dtype === dtype ? x : emitter.node("Cast", [x], { to: onnxDataTypes[dtype] });
  return emitter.node("ReduceSum", [counted, emitter.integers(numbersOf(node, "axes"))], {
    keepdims: 1,
    // A sum over no axes is the tensor itself, where ONNX would sum all.
    noop_with_empty_axes: 1,
  });
}

/** A reduction whose axes are an attribute in opset 17. */
const reduction =
  (opType: string): Emit =>
  (emitter, node) => {
    const axes = numbersOf(node, "axes");
    const [x] = operands(emitter, node);
    return axes.length === 0
      ? emitter.node("Identity", [x])
      : emitter.node(opType, [x], { axes, keepdims: 1 });
  };

/** A node of the same inputs, with one axis. */
const along =
  (opType: string): Emit =>
  (emitter, node) =>
    emitter.node(opType, operands(emitter, node), { axis: numberOf(node, "axis") });

function argmaxOp(emitter: Emitter, node: GraphNode): string {
  const place = emitter.node("ArgMax", operands(emitter, node), {
    axis: numberOf(node, "axis"),
    keepdims: 1,
  });
  return emitter.node("Cast", [place], { to: onnxDataTypes.i32 });
}

const onAxis =
  (opType: string): Emit =>
  (emitter, node) =>
    emitter.node(opType, [...operands(emitter, node), emitter.integers([numberOf(node, "axis")])]);

function expandOp(emitter: Emitter, node: GraphNode): string {
  const from = shapeOf(emitter, node.inputs[0]);
  const to = numbersOf(node, "shape");
  const lead = to.length - from.length;
  // 1 keeps an extent: only axes that are stretched have their size in the file.
  const stretched = to.map((extent, axis) => (axis >= lead && from[axis - lead] === extent ? 1 : extent));
  return emitter.node("Expand", [...operands(emitter, node), emitter.integers(stretched)]);
}

function castOp(emitter: Emitter, node: GraphNode): string {
  const { dtype } = emitter.recording.graph.values[node.output];
  return emitter.node("Cast", operands(emitter, node), { to: onnxDataTypes[dtype] });
}

const table: Readonly<Record<string, Emit>> = {
  adaptiveAvgPool2d: adaptiveAveragePool,
  argmax: argmaxOp,
  avgPool2d: averagePool,
  cast: castOp,
  concat: along("Concat"),
  conv2d: conv,
  conv2dRelu: (emitter, node) => emitter.node("Relu", [conv(emitter, node)]),
  copy: (emitter, node) => emitter.node("Identity", operands(emitter, node)),
  expand: expandOp,
  gather: along("GatherElements"),
  logSoftmax: along("LogSoftmax"),
  logSumExp: reduction("ReduceLogSumExp"),
  matmul: (emitter, node) => emitter.node("MatMul", operands(emitter, node)),
  max: reduction("ReduceMax"),
  maxPool2d: (emitter, node) =>
    emitter.node("MaxPool", operands(emitter, node), {
      ...poolAttributes(node),
      dilations: numbersOf(node, "dilation"),
    }),
  pad: padOp,
  permute: (emitter, node) =>
    emitter.node("Transpose", operands(emitter, node), { perm: numbersOf(node, "order") }),
  reshape: reshapeOp,
  slice: sliceOp,
  softmax: along("Softmax"),
  squeeze: onAxis("Squeeze"),
  sum: sumOp,
  unsqueeze: onAxis("Unsqueeze"),
  upsample: (emitter, node) => emitUpsample(emitter, node, textOf(node, "mode")),
};

/** Emits any op. Throws for those that have no counterpart in ONNX. */
export function emitOp(emitter: Emitter, node: GraphNode): string {
  if (isPointwise(node.attributes)) return emitPointwise(emitter, node, node.attributes);
  if (!Object.hasOwn(table, node.op))
    throw exportError(
      node,
      "has no counterpart among the ONNX operators that are written; export a model for inference",
    );
  return table[node.op](emitter, node);
}
