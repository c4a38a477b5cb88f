/**
 * What a network costs, counted layer by layer on its graph: parameters, operations, memory traffic. Counting rules
 * that differ between papers stand in countingRules.ts; what a training step holds in memory in memory.ts.
 */

import type { Shape } from "../tensor/layout.ts";
import { formatShape, sizeOf } from "../tensor/layout.ts";
import { inputOutput, totalFlops } from "./countingRules.ts";
import type { Graph } from "./graph.ts";
import { type LayerKind, type LayerNode, layerNodes } from "./layerKinds.ts";
import type { Trace } from "./trace.ts";

/** One layer's cost, for one image. */
export interface LayerCost {
  readonly modulePath: string;
  readonly op: string;
  readonly kind: LayerKind;
  /** Shape of its first map for one image, [C, H, W] mostly. */
  readonly inputShape: Shape;
  readonly outputShape: Shape;
  /** Weights of a convolution or linear layer that no layer before it had; biases and norms have none. */
  readonly weights: number;
  /** All trained numbers that no layer before it had. */
  readonly parameters: number;
  readonly multiplyAdds: number;
  /** Elements of a pool's window; 0 for other layers. */
  readonly windowElements: number;
  /** Elements of the maps that it reads and of the one that it writes. */
  readonly inputOutput: number;
}

export interface Cost {
  /** Trained numbers that the network reads. */
  readonly parameters: number;
  /** Weights of convolutions and linear layers alone, without biases and norms: the paper's "#Parameter". */
  readonly weights: number;
  /** Numbers in a Darknet `.weights` file: the parameters, and running mean and variance of every norm. */
  readonly storedNumbers: number;
  /** Floating-point operations of convolutions and matrix products per image; two per multiply-add. */
  readonly flopsPerImage: number;
  /** CIO without pools, per image: see `inputOutput`. */
  readonly convInputOutput: number;
  /** In the order of execution, for one image. */
  readonly layers: readonly LayerCost[];
}

function windowOf(attributes: object): number {
  const window = "kernelSize" in attributes ? attributes.kernelSize : undefined;
  if (!Array.isArray(window)) return 0;
  return window.reduce<number>((product, extent) => product * Number(extent), 1);
}

function multiplyAdds(graph: Graph, { node, kind }: LayerNode): number {
  const shape = (slot: number) => graph.values[node.inputs[slot]].shape;
  const outputs = sizeOf(graph.values[node.output].shape);
  // A convolution's weight is [K, C/groups, R, S]; a matrix product sums over the last axis of its first operand.
  if (kind === "convolution") return outputs * sizeOf(shape(1).slice(1));
  return kind === "linear" ? outputs * (shape(0).at(-1) ?? 1) : 0;
}

/**
 * Counts the cost per image of a traced network. Parameters that several layers share count once, with the first of
 * them. Throws when the traced batch was empty.
 */
export function cost({ graph, inputs }: Pick<Trace, "graph" | "inputs">): Cost {
  const counted = new Set<number>();
  const count = (values: readonly number[]): number => {
    const fresh = values.filter((value) => !counted.has(value));
    for (const value of fresh) counted.add(value);
    return fresh.reduce((sum, value) => sum + sizeOf(graph.values[value].shape), 0);
  };
  const images = inputs.length > 0 ? (graph.values[inputs[0]].shape[0] ?? 1) : 1;
  if (images === 0)
    throw new Error(
      `cost: the traced batch ${formatShape(graph.values[inputs[0]].shape)} is empty; trace with one image`,
    );
  let runningStatistics = 0;
  const layers = layerNodes(graph, inputs).map((layer): LayerCost => {
    const { node, kind, maps, parameters } = layer;
    const [shape, outputShape] = [graph.values[maps[0]].shape, graph.values[node.output].shape];
    const weight = kind === "convolution" || kind === "linear" ? parameters.slice(0, 1) : [];
    const isNew = parameters.some((value) => !counted.has(value));
    if (kind === "norm" && isNew) runningStatistics += 2 * shape[1];
    const weights = count(weight);
    const elements = [...maps, node.output].reduce((sum, id) => sum + sizeOf(graph.values[id].shape), 0);
    return {
      modulePath: node.modulePath,
      op: node.op,
      kind,
      inputShape: shape.slice(1),
      outputShape: outputShape.slice(1),
      weights,
      parameters: weights + count(parameters),
      multiplyAdds: multiplyAdds(graph, layer) / images,
      windowElements: kind === "maxPool" || kind === "avgPool" ? windowOf(node.attributes) : 0,
      inputOutput: elements / images,
    };
  });
  const parameters = layers.reduce((sum, layer) => sum + layer.parameters, 0);
  return {
    parameters,
    weights: layers.reduce((sum, layer) => sum + layer.weights, 0),
    storedNumbers: parameters + runningStatistics,
    flopsPerImage: totalFlops(layers, "macs"),
    convInputOutput: inputOutput(layers),
    layers,
  };
}
