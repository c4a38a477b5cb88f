/** Records a module once into a graph. */
import { noGrad, onOp } from "../autograd/index.ts";
import type { Module } from "../nn/index.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type Graph, GraphBuilder } from "./graph.ts";

/** A module's graph with the values that go in and come out. */
export interface Trace {
  readonly graph: Graph;
  readonly inputs: readonly number[];
  readonly output: number;
}

/**
 * Runs `module` on `inputs` in evaluation mode, without recording for gradients or touching running statistics, and
 * returns what it computed. The graph is that of this one call: control flow that depends on data is not in it.
 */
export function trace(module: Module, ...inputs: Tensor[]): Trace {
  const modes = new Map([...module.namedModules().values()].map((child) => [child, child.training]));
  const builder = new GraphBuilder(module.namedParameters());
  const inputIds = inputs.map((input) => builder.idOf(input));
  const stop = onOp((event) => builder.add(event));
  try {
    module.eval();
    const output = scope(() => noGrad(() => builder.idOf(module.forward(...inputs))));
    return { graph: builder.graph(), inputs: inputIds, output };
  } finally {
    stop();
    for (const [child, training] of modes) child.training = training;
  }
}
