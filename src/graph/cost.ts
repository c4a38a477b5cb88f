/**
 * What a network costs, counted on its graph: parameters, floating-point operations, and CIO, the convolutional
 * input/output of HarDNet (Chao et al. 2019) that the CSPNet paper uses for memory traffic.
 */
import { formatShape, sizeOf } from "../tensor/layout.ts";
import type { Graph, GraphNode } from "./graph.ts";

/** The cost of one weighted layer for the traced batch. */
export interface LayerCost {
  readonly modulePath: string;
  readonly op: string;
  /** Two per multiply-add. */
  readonly flops: number;
  /** Elements read and written: input + output. */
  readonly inputOutput: number;
}

export interface Cost {
  /** Trained numbers that the graph reads. */
  readonly parameters: number;
  /** Floating-point operations of convolutions and matrix products per image; two per multiply-add. */
  readonly flopsPerImage: number;
  /** CIO: elements of input and output of every convolution, per image. */
  readonly convInputOutput: number;
  /** Per layer, for one image. */
  readonly layers: readonly LayerCost[];
}

function layerCost(graph: Graph, node: GraphNode): LayerCost {
  const [x, weight] = node.inputs.map((id) => graph.values[id].shape);
  const output = graph.values[node.output].shape;
  // A convolution's weight is [K, C/groups, R, S], a matrix product's [in, out].
  const perOutput = node.op === "conv2d" ? sizeOf(weight.slice(1)) : (x.at(-1) ?? 1);
  const images = x[0];
  return {
    modulePath: node.modulePath,
    op: node.op,
    flops: (2 * sizeOf(output) * perOutput) / images,
    inputOutput: (sizeOf(x) + sizeOf(output)) / images,
  };
}

/** Counts the cost per image of a traced network. Throws when the traced batch was empty. */
export function cost(graph: Graph): Cost {
  const weighted = graph.nodes.filter(({ op }) => op === "conv2d" || op === "matmul");
  for (const node of weighted) {
    const { shape } = graph.values[node.inputs[0]];
    if (shape[0] === 0)
      throw new Error(`cost: the traced batch ${formatShape(shape)} is empty; trace with one image`);
  }
  const layers = weighted.map((node) => layerCost(graph, node));
  const total = (of: (layer: LayerCost) => number, list = layers) =>
    list.reduce((sum, layer) => sum + of(layer), 0);
  return {
    parameters: graph.values
      .filter(({ parameter }) => parameter !== null)
      .reduce((sum, { shape }) => sum + sizeOf(shape), 0),
    flopsPerImage: total(({ flops }) => flops),
    convInputOutput: total(
      ({ inputOutput }) => inputOutput,
      layers.filter(({ op }) => op === "conv2d"),
    ),
    layers,
  };
}
