/**
 * Several of our ops that are one ONNX node: batch norm with fixed statistics, a mean over pixels, a linear layer.
 * Each pattern is looked for at its last op; where it is not found, the ops are exported one by one.
 */
import type { GraphNode } from "../../../graph/index.ts";
import { sameShape, sizeOf } from "../../../tensor/layout.ts";
import { isPointwise, numbersOf } from "./attributes.ts";
import type { Emitter } from "./emitter.ts";
import type { Recording } from "./recording.ts";

/** What is emitted in place of an op and those before it. */
export interface Pattern {
  /** Ops that are part of it, beside the last. */
  readonly covers: readonly GraphNode[];
  emit(emitter: Emitter): string;
}

type Match = (recording: Recording, node: GraphNode) => Pattern | null;

/** The value of a constant of one element. */
function constantScalar(recording: Recording, value: number): number | null {
  const isScalar = !recording.isDependent(value) && sizeOf(recording.graph.values[value].shape) === 1;
  return isScalar ? recording.tensor(value).dataSync()[0] : null;
}

/** multiplyAdd(x, weight / √(variance + ε), bias − mean · scale), as `batchNormWith` computes it. */
const batchNorm: Match = (recording, node) => {
  if (node.op !== "multiplyAdd" || !recording.isDependent(node.inputs[0])) return null;
  const inputOf = (value: number, op: string): readonly number[] => recording.madeBy(value, op)?.inputs ?? [];
  const [x, factor, shift] = node.inputs;
  const [scale = -1] = inputOf(factor, "reshape");
  if (scale < 0) return null;
  const [weight = -1, deviation = -1] = inputOf(scale, "div");
  const [sum = -1] = deviation < 0 ? [] : inputOf(deviation, "sqrt");
  const [variance = -1, epsilon = -1] = sum < 0 ? [] : inputOf(sum, "add");
  const [difference = -1] = inputOf(shift, "reshape");
  const [bias = -1, product = -1] = difference < 0 ? [] : inputOf(difference, "sub");
  const [mean = -1, sameScale = -1] = product < 0 ? [] : inputOf(product, "mul");
  const vectors = [weight, bias, mean, variance];
  const { shape, dtype } = recording.graph.values[x];
  const fits = (value: number): boolean =>
    value >= 0 &&
    !recording.isDependent(value) &&
    sameShape(recording.graph.values[value].shape, [shape[1]]) &&
    recording.graph.values[value].dtype === dtype;
  const value = epsilon < 0 ? null : constantScalar(recording, epsilon);
  if (shape.length !== 4 || sameScale !== scale || value === null || !vectors.every(fits)) return null;
  return {
    covers: [],
    emit: (emitter) =>
      emitter.node(
        "BatchNormalization",
        [x, ...vectors].map((operand) => emitter.operand(operand)),
        { epsilon: { float: value } },
      ),
  };
};

/** sum(x, pixels) / pixels, as `globalAvgPool2d` computes it. */
const globalAverage: Match = (recording, node) => {
  if (node.op !== "mul") return null;
  const [total, factor] = node.inputs;
  const sum = recording.madeBy(total, "sum");
  if (!sum || !recording.isDependent(total) || recording.onlyReader(total) !== node) return null;
  const { shape } = recording.graph.values[sum.inputs[0]];
  const isPixels = shape.length === 4 && sameShape(numbersOf(sum, "axes"), [2, 3]);
  const share = constantScalar(recording, factor);
  if (!isPixels || share === null || Math.fround(share) !== Math.fround(1 / (shape[2] * shape[3])))
    return null;
  return {
    covers: [sum],
    emit: (emitter) => emitter.node("GlobalAveragePool", [emitter.operand(sum.inputs[0])]),
  };
};

/** matmul(x, transpose(weight)) of matrices, with or without a bias, as `Linear` computes it. */
function linear(recording: Recording, product: GraphNode, bias: number | null): Pattern | null {
  if (product.op !== "matmul") return null;
  const [x, transposed] = product.inputs;
  const permute = recording.madeBy(transposed, "permute");
  const weight = permute?.inputs[0];
  const { values } = recording.graph;
  if (!permute || weight === undefined || values[x].shape.length !== 2 || recording.isDependent(weight))
    return null;
  if (!sameShape(numbersOf(permute, "order"), [1, 0]) || !recording.isDependent(x)) return null;
  if (
    bias !== null &&
    (recording.isDependent(bias) || !sameShape(values[bias].shape, [values[weight].shape[0]]))
  )
    return null;
  const inputs = [x, weight, ...(bias === null ? [] : [bias])];
  return {
    covers: bias === null ? [] : [product],
    emit: (emitter) =>
      emitter.node(
        "Gemm",
        inputs.map((operand) => emitter.operand(operand)),
        { transB: 1 },
      ),
  };
}

const linearWithBias: Match = (recording, node) => {
  if (node.op !== "add" || !isPointwise(node.attributes)) return null;
  const [total, bias] = node.inputs;
  const product = recording.madeBy(total, "matmul");
  return product && recording.onlyReader(total) === node ? linear(recording, product, bias) : null;
};

const matches: readonly Match[] = [
  batchNorm,
  globalAverage,
  linearWithBias,
  (recording, node) => linear(recording, node, null),
];

/** Every pattern in a graph, by the id of its last op. An op belongs to one pattern at most. */
export function findPatterns(recording: Recording): ReadonlyMap<number, Pattern> {
  const found = new Map<number, Pattern>();
  const covered = new Set<GraphNode>();
  // From the end, so that a linear layer is found with its bias before it is found without.
  for (const node of [...recording.graph.nodes].reverse()) {
    if (covered.has(node) || !recording.isDependent(node.output)) continue;
    for (const match of matches) {
      const pattern = match(recording, node);
      if (!pattern) continue;
      found.set(node.id, pattern);
      for (const other of pattern.covers) covered.add(other);
      break;
    }
  }
  return found;
}
