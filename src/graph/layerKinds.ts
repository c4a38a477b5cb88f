/**
 * What an op is to a network: which layer a node of the graph stands for. Counting rules ask for the layer, not for
 * the op, since one layer may be computed by several ops (a batch norm in evaluation mode is one multiply-add whose
 * factors were computed from its parameters).
 */
import { registeredOps } from "../autograd/defineOp.ts";
import type { Graph, GraphNode } from "./graph.ts";
import { dependentValues } from "./graph.ts";

/** "other" is whatever no counting rule knows: adding a bias, dividing by a constant. */
export type LayerKind =
  | "convolution"
  | "linear"
  | "norm"
  | "activation"
  | "maxPool"
  | "avgPool"
  /** The mean over all pixels. */
  | "globalPool"
  /** The largest of a group of channels, Darknet's maxpool_depth. */
  | "maxout"
  | "add"
  | "multiply"
  | "concat"
  | "upsample"
  | "softmax"
  | "other";

/** A node that computes something from the network's input, as a layer. */
export interface LayerNode {
  readonly node: GraphNode;
  readonly kind: LayerKind;
  /** Ids of the operands that depend on the network's input: maps. */
  readonly maps: readonly number[];
  /** Ids of the parameters that the other operands are made of, each once. */
  readonly parameters: readonly number[];
}

const kindsByOp: Readonly<Record<string, LayerKind>> = {
  conv2d: "convolution",
  conv2dRelu: "convolution",
  normReluConv2d: "convolution",
  batchNorm: "norm",
  maxPool2d: "maxPool",
  avgPool2d: "avgPool",
  concat: "concat",
  upsample: "upsample",
  softmax: "softmax",
  logSoftmax: "softmax",
};

const activations = new Set(
  "relu leakyRelu sigmoid tanh silu mish hardSigmoid hardSwish softplus clamp".split(" "),
);

const areAxes = (values: unknown, expected: readonly number[]): boolean =>
  Array.isArray(values) &&
  values.length === expected.length &&
  expected.every((axis) => values.includes(axis));

function kindOf(graph: Graph, node: GraphNode, maps: readonly number[]): LayerKind {
  const { op, inputs, attributes } = node;
  const known = kindsByOp[op];
  if (known) return known;
  if (activations.has(op)) return "activation";
  const shape = (slot: number) => graph.values[inputs[slot]].shape;
  const axes = "axes" in attributes ? attributes.axes : undefined;
  switch (op) {
    case "matmul":
      return "linear";
    case "multiplyAdd":
      // Factor and summand per channel, known before the image is: a norm with fixed statistics.
      return maps.length === 1 && maps[0] === inputs[0] && shape(0).length === 4 ? "norm" : "other";
    case "adaptiveAvgPool2d":
      return graph.values[node.output].shape.slice(2).every((extent) => extent === 1)
        ? "globalPool"
        : "avgPool";
    case "sum":
      return shape(0).length === 4 && areAxes(axes, [2, 3]) ? "globalPool" : "other";
    case "max":
      return shape(0).length === 5 && areAxes(axes, [1]) ? "maxout" : "other";
    case "add":
      return maps.length === 2 ? "add" : "other";
    case "mul":
      return maps.length === 2 ? "multiply" : "other";
    default:
      return "other";
  }
}

/**
 * The nodes that compute maps, in the order of execution. Left out: views, which move nothing, and what is computed
 * from parameters alone, which a deployed network has as constants.
 *
 * @param inputs ids of the values that the network was given
 */
export function layerNodes(graph: Graph, inputs: readonly number[]): LayerNode[] {
  const dependent = dependentValues(graph, inputs);
  const registry = registeredOps();
  const parametersBehind = (value: number): number[] => {
    const { trained, producer } = graph.values[value];
    if (trained) return [value];
    return producer === null || dependent.has(value)
      ? []
      : graph.nodes[producer].inputs.flatMap(parametersBehind);
  };
  return graph.nodes
    .filter(({ op, output }) => dependent.has(output) && registry.get(op)?.kind !== "view")
    .map((node) => {
      const maps = node.inputs.filter((value) => dependent.has(value));
      return {
        node,
        kind: kindOf(graph, node, maps),
        maps,
        parameters: [...new Set(node.inputs.flatMap(parametersBehind))],
      };
    });
}
