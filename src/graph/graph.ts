/**
 * One intermediate representation of what a module computed: values and the ops between them. Equations, structure,
 * cost and drawings all start from it.
 */
import type { OpEvent } from "../autograd/index.ts";
import type { DType } from "../backends/dtype.ts";
import type { Shape } from "../tensor/layout.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** A tensor that took part. */
export interface GraphValue {
  readonly id: number;
  readonly shape: Shape;
  readonly dtype: DType;
  /** The op that made it; null for what was there before: inputs, parameters, constants. */
  readonly producer: number | null;
  /** The ops that read it, in order; an op that reads it twice appears twice. */
  readonly consumers: readonly { readonly node: number; readonly slot: number }[];
  /** The path of the parameter that it is, if it is one. */
  readonly parameter: string | null;
  /** Whether it is a parameter, or another tensor there before that a gradient is asked for: something learnt. */
  readonly trained: boolean;
}

/** One op that ran. */
export interface GraphNode {
  readonly id: number;
  readonly op: string;
  /** Value ids. */
  readonly inputs: readonly number[];
  readonly output: number;
  readonly attributes: object;
  readonly modulePath: string;
}

/** Nodes are in the order of execution, so producers come before consumers. */
export interface Graph {
  readonly values: readonly GraphValue[];
  readonly nodes: readonly GraphNode[];
}

interface MutableValue {
  readonly id: number;
  readonly shape: Shape;
  readonly dtype: DType;
  producer: number | null;
  readonly consumers: { readonly node: number; readonly slot: number }[];
  readonly parameter: string | null;
  readonly trained: boolean;
}

/** Builds a graph from op events, and remembers which tensor each value was. */
export class GraphBuilder {
  readonly #values: MutableValue[] = [];
  readonly #nodes: GraphNode[] = [];
  readonly #ids = new Map<Tensor, number>();
  readonly #tensors: Tensor[] = [];
  readonly #parameters: ReadonlyMap<Tensor, string>;

  /** `parameters` names the tensors that are parameters, by path. */
  constructor(parameters: ReadonlyMap<string, Tensor>) {
    this.#parameters = new Map([...parameters].map(([path, tensor]) => [tensor, path]));
  }

  /** Adds an op that just ran. */
  add({ op, inputs, output, attributes, modulePath }: OpEvent): void {
    const id = this.#nodes.length;
    const inputIds = inputs.map((input) => this.idOf(input));
    inputIds.forEach((value, slot) => void this.#values[value].consumers.push({ node: id, slot }));
    const outputId = this.idOf(output);
    this.#values[outputId].producer = id;
    this.#nodes.push({ id, op, inputs: inputIds, output: outputId, attributes, modulePath });
  }

  /** The value that `tensor` is; a tensor not seen before becomes a value without producer. */
  idOf(tensor: Tensor): number {
    const known = this.#ids.get(tensor);
    if (known !== undefined) return known;
    const id = this.#values.length;
    const parameter = this.#parameters.get(tensor) ?? null;
    this.#ids.set(tensor, id);
    this.#tensors.push(tensor);
    this.#values.push({
      id,
      shape: tensor.shape,
      dtype: tensor.dtype,
      producer: null,
      consumers: [],
      parameter,
      trained: parameter !== null || (tensor.isLeaf && tensor.requiresGrad),
    });
    return id;
  }

  /** The tensor of a value. */
  tensorOf(value: number): Tensor {
    return this.#tensors[value];
  }

  graph(): Graph {
    return { values: this.#values, nodes: this.#nodes };
  }
}

/** Ids of the values that depend on any of `roots`, the roots among them. */
export function dependentValues(graph: Graph, roots: Iterable<number>): Set<number> {
  const dependent = new Set(roots);
  for (const node of graph.nodes)
    if (node.inputs.some((input) => dependent.has(input))) dependent.add(node.output);
  return dependent;
}
