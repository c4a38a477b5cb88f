/** Records a module once into a graph, by the shapes of what it computes. */
import { currentModulePath, noGrad, onOp } from "../autograd/index.ts";
import type { DType } from "../backends/dtype.ts";
import type { Module } from "../nn/index.ts";
import { defaultGenerator } from "../tensor/generator.ts";
import { checkShape, formatShape, type Shape, sizeOf } from "../tensor/layout.ts";
import { scope } from "../tensor/scope.ts";
import { followShapes, shapesOnlyBackend } from "../tensor/shapesOnly.ts";
import { Storage } from "../tensor/storage.ts";
import { Tensor } from "../tensor/tensor.ts";
import { userLine } from "./callSite.ts";
import { type Graph, GraphBuilder } from "./graph.ts";

/** A module's graph with the values that go in and come out. */
export interface Trace {
  readonly graph: Graph;
  readonly inputs: readonly number[];
  readonly output: number;
  /** Paths of all modules, those among them in which no op ran. */
  readonly modules: readonly string[];
}

/** What a module is traced on: a tensor, or a shape alone in the dtype of the module's parameters. */
export type TraceInput = Tensor | Shape;

/**
 * The graph of `module` in evaluation mode for inputs of these shapes: every op with its shapes, attributes and module
 * path. Nothing is computed and no memory is taken for activations, so that a DenseNet at 224 x 224 takes
 * milliseconds; parameters, running statistics, modes and random generators stay as they are.
 *
 *     const { graph } = trace(densenet121(), [1, 3, 224, 224]);
 *
 * The graph is that of every input of these shapes, so reading values of the input, or of what was computed from it,
 * throws an error that names the module and the line: which ops run may depend on shapes and parameters alone.
 */
export function trace(module: Module, ...inputs: TraceInput[]): Trace {
  return traceIn(false, module, inputs);
}

/** The graph of a training step's forward pass: norms use the batch's statistics and dropout drops. Else as `trace`. */
export function traceTraining(module: Module, ...inputs: TraceInput[]): Trace {
  return traceIn(true, module, inputs);
}

function traceIn(training: boolean, module: Module, inputs: readonly TraceInput[]): Trace {
  const builder = new GraphBuilder(module.namedParameters());
  const stop = onOp((event) => builder.add(event));
  try {
    return followModule(module, { training, inputs }, (...tensors) => {
      const inputIds = tensors.map((tensor) => builder.idOf(tensor));
      const output = noGrad(() => tensorOf(module, module.forward(...tensors)));
      const modules = [...module.namedModules().keys()];
      return { graph: builder.graph(), inputs: inputIds, output: builder.idOf(output), modules };
    });
  } finally {
    stop();
  }
}

/**
 * Runs `body` on inputs of these shapes with the module in one mode, following shapes alone, and leaves the module,
 * but for gradients, and the random generator as they were. Throws where values are read that a computation decides.
 */
export function followModule<Result>(
  module: Module,
  { training, inputs }: { readonly training: boolean; readonly inputs: readonly TraceInput[] },
  body: (...inputs: Tensor[]) => Result,
): Result {
  const restore = [restoreModes(module), restoreVersions(module), restoreGenerator()];
  const given = inputs.flatMap((input) => (input instanceof Tensor ? [input.buffer] : []));
  let refused: Error | null = null;
  const refuse = (shape: Shape): Error => {
    refused ??= dataDependent(module, shape);
    return refused;
  };
  try {
    module.train(training);
    const result = followShapes(given, refuse, () =>
      scope(() => body(...inputs.map((input) => (input instanceof Tensor ? input : unknown(module, input))))),
    );
    // The module may have caught the error: its graph is no less that of one input.
    if (refused) throw refused;
    return result;
  } catch (error) {
    throw refused ?? error;
  } finally {
    for (const undo of restore) undo();
  }
}

const nameOf = (module: Module): string => module.constructor.name;

/** What `forward` gave, if it is the tensor that its type promises. */
function tensorOf(module: Module, given: unknown): Tensor {
  if (given instanceof Tensor) return given;
  // An async forward rejects when it reads values; its error is reported here, not as one that nobody handled.
  if (given instanceof Promise) given.catch(() => undefined);
  throw new Error(
    `trace: ${nameOf(module)}.forward gave ${given instanceof Promise ? "a promise" : `a ${typeof given}`}; ` +
      "it must return the tensor that it computes",
  );
}

/** A tensor of that shape whose values nobody may ask for. */
function unknown(module: Module, shape: Shape): Tensor {
  checkShape("trace", shape);
  const backend = shapesOnlyBackend();
  if (!backend) throw new Error("trace: shapes are followed inside followShapes only");
  return new Tensor(new Storage(backend, dtypeOf(module), sizeOf(shape), "data"), shape);
}

const dtypeOf = (module: Module): DType =>
  module.parameters().find(({ dtype }) => dtype === "f32" || dtype === "f64")?.dtype ?? "f32";

function restoreModes(module: Module): () => void {
  const modes = [...module.namedModules().values()].map((child) => [child, child.training] as const);
  return () => {
    for (const [child, training] of modes) child.training = training;
  };
}

/** Writes in place were followed and not done: they count for nobody. */
function restoreVersions(module: Module): () => void {
  const versions = [...module.stateDict().values()].map(({ storage }) => [storage, storage.version] as const);
  return () => {
    for (const [storage, version] of versions) storage.version = version;
  };
}

function restoreGenerator(): () => void {
  const generator = defaultGenerator();
  const state = generator.state();
  return () => generator.restore(state);
}

function dataDependent(module: Module, shape: Shape): Error {
  const line = userLine();
  return new Error(
    `trace: the forward pass of ${currentModulePath() || nameOf(module)} reads the values of a tensor ${formatShape(shape)}` +
      `${line ? ` at ${line}` : ""}; a graph holds for every input, so what runs may not depend on data. ` +
      "Choose with ops instead (where, max, a product with a mask), or move the choice out of forward()",
  );
}
