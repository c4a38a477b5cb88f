/** One evaluation of a module, recorded with the values that do not depend on its inputs. */
import { noGrad, type OpEvent, onOp } from "../../../autograd/index.ts";
import { dependentValues, type Graph, GraphBuilder, type GraphNode, trace } from "../../../graph/index.ts";
import type { Module } from "../../../nn/index.ts";
import { scope } from "../../../tensor/scope.ts";
import type { Tensor } from "../../../tensor/tensor.ts";

/** A recorded graph; its tensors live as long as the callback that it is given to. */
export class Recording {
  readonly graph: Graph;
  readonly inputs: readonly number[];
  readonly output: number;
  private readonly dependent: ReadonlySet<number>;
  private readonly builder: GraphBuilder;
  private readonly names: ReadonlyMap<Tensor, string>;

  constructor(builder: GraphBuilder, inputs: readonly number[], output: number, module: Module) {
    this.builder = builder;
    this.graph = builder.graph();
    this.inputs = inputs;
    this.output = output;
    this.dependent = dependentValues(this.graph, inputs);
    // What is shared has several names: the first counts.
    this.names = new Map([...module.stateDict()].reverse().map(([name, tensor]) => [tensor, name]));
  }

  /** Whether a value changes with the inputs; others are constants of the model. */
  isDependent(value: number): boolean {
    return this.dependent.has(value);
  }

  /** The tensor of a value. */
  tensor(value: number): Tensor {
    return this.builder.tensorOf(value);
  }

  /** The name in the module's state of the parameter or buffer that a value is; null for others. */
  stateName(value: number): string | null {
    return this.names.get(this.tensor(value)) ?? null;
  }

  /** The op that made a value, if it is of that name. */
  madeBy(value: number, op: string): GraphNode | null {
    const { producer } = this.graph.values[value];
    const node = producer === null ? null : this.graph.nodes[producer];
    return node?.op === op ? node : null;
  }

  /** The only op that reads a value, if there is only one and the value is not the output. */
  onlyReader(value: number): GraphNode | null {
    const { consumers } = this.graph.values[value];
    return consumers.length === 1 && value !== this.output ? this.graph.nodes[consumers[0].node] : null;
  }
}

/** Constants outlive scopes that the module opens within its forward; what depends on inputs need not. */
function keepConstants({ inputs, output }: OpEvent, dependent: Set<Tensor>): void {
  const constants = inputs.filter((input) => !dependent.has(input));
  for (const constant of constants) constant.keep();
  if (constants.length < inputs.length) dependent.add(output);
  else output.keep();
}

/**
 * Evaluates `module` in evaluation mode and gives what it did to `read`; afterwards the module is as it was. Throws
 * when what runs depends on the values of the inputs, for a graph holds for every input.
 */
export function record<Result>(
  module: Module,
  inputs: readonly Tensor[],
  read: (recording: Recording) => Result,
): Result {
  trace(module, ...inputs);
  const modes = new Map([...module.namedModules().values()].map((child) => [child, child.training]));
  const builder = new GraphBuilder(module.namedParameters());
  const inputIds = inputs.map((input) => builder.idOf(input));
  const dependent = new Set(inputs);
  return scope(() => {
    const stop = onOp((event) => {
      keepConstants(event, dependent);
      builder.add(event);
    });
    let output: number;
    try {
      module.eval();
      output = builder.idOf(noGrad(() => module.forward(...inputs)));
    } finally {
      stop();
      for (const [child, training] of modes) child.training = training;
    }
    return read(new Recording(builder, inputIds, output, module));
  });
}
