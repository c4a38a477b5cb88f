/**
 * Which ops of a graph are weighted layers: those that multiply a feature map with something trained. A convolution
 * with a fixed filter (a blur, say) is no layer, however much it looks like one: it has nothing to be updated.
 */
import type { Graph, GraphNode } from "../graph/index.ts";

/** By op, which input is the weight when the first is the map. */
const weightSlots: Readonly<Record<string, number>> = {
  conv2d: 1,
  conv2dRelu: 1,
  normReluConv2d: 3,
  matmul: 1,
};

/** A weighted op, and what it reads and multiplies with. */
export interface WeightedOp {
  /** Value id of the map that it reads. */
  readonly map: number;
  /** Value ids of the trained tensors that its weight is made of, in order: usually one. */
  readonly weights: readonly number[];
  /** `[K, C, R, S]` of a convolution's filter, the shape of a product's factor. */
  readonly shape: readonly number[];
  readonly isConvolution: boolean;
}

/** Finds the weighted ops of one graph. */
export class TrainedLayers {
  readonly #graph: Graph;
  readonly #data: ReadonlySet<number>;
  readonly #known = new Map<number, readonly number[]>();

  /** `data` holds the ids of the values that depend on the network's inputs. */
  constructor(graph: Graph, data: ReadonlySet<number>) {
    this.#graph = graph;
    this.#data = data;
  }

  /** The op as a weighted one; null when it is none. */
  of({ op, inputs }: GraphNode): WeightedOp | null {
    const slot = weightSlots[op];
    if (slot === undefined) return null;
    // A product's factors may stand in either order.
    const [map, weight] = op === "matmul" && !this.#data.has(inputs[0]) ? [1, 0] : [0, slot];
    if (!this.#data.has(inputs[map]) || this.#data.has(inputs[weight])) return null;
    const weights = this.#trained(inputs[weight]);
    if (weights.length === 0) return null;
    const { shape } = this.#graph.values[inputs[weight]];
    return { map: inputs[map], weights, shape, isConvolution: op !== "matmul" };
  }

  /** The trained tensors that a value which does not depend on the data is made of. */
  #trained(value: number): readonly number[] {
    const known = this.#known.get(value);
    if (known) return known;
    const { trained, producer } = this.#graph.values[value];
    const behind = producer === null ? [] : this.#graph.nodes[producer].inputs;
    const found = trained ? [value] : [...new Set(behind.flatMap((id) => this.#trained(id)))];
    this.#known.set(value, found);
    return found;
  }
}
