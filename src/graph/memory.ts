/**
 * How much memory a network takes, before it takes it: the maps alive at once in inference, by a walk over the graph,
 * and the peak of a training step, by going through one, backward pass and all, with shapes instead of numbers.
 */
import { registeredOps } from "../autograd/defineOp.ts";
import { backward, enableGrad, sum } from "../autograd/index.ts";
import { bytesPerElement } from "../backends/dtype.ts";
import type { Module } from "../nn/index.ts";
import { sizeOf } from "../tensor/layout.ts";
import { shapesOnlyBackend } from "../tensor/shapesOnly.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Graph } from "./graph.ts";
import { layerNodes } from "./layerKinds.ts";
import { followModule, type Trace, type TraceInput } from "./trace.ts";

/** Memory of the maps of one inference. */
export interface InferenceMemory {
  /** All maps together, the input among them: what is in use when nothing is freed before the end. */
  readonly activationBytes: number;
  /** The most in use at one moment when every map is freed after the last op that reads it. */
  readonly peakBytes: number;
  /** Path of the module that runs at that moment. */
  readonly peakAt: string;
}

/** Every value's memory: a view lies in the memory of what it views. */
function memoryOf(graph: Graph): number[] {
  const registry = registeredOps();
  const owner: number[] = [];
  for (const { id, producer } of graph.values) {
    const node = producer === null ? null : graph.nodes[producer];
    owner[id] = node && registry.get(node.op)?.kind === "view" ? node.inputs[0] : id;
  }
  const root = (id: number): number => (owner[id] === id ? id : root(owner[id]));
  return graph.values.map(({ id }) => root(id));
}

/**
 * Bytes of maps in inference, of a network traced in evaluation mode, where every op writes memory of its own; weights
 * come on top.
 */
export function inferenceMemory({
  graph,
  inputs,
  output,
}: Pick<Trace, "graph" | "inputs" | "output">): InferenceMemory {
  const memory = memoryOf(graph);
  const bytes = (id: number) => sizeOf(graph.values[id].shape) * bytesPerElement(graph.values[id].dtype);
  const nodes = layerNodes(graph, inputs).map(({ node }) => node);
  const maps = new Set([...inputs, ...nodes.map((node) => node.output)]);
  const lastUse = new Map<number, number>();
  for (const { id, inputs: read } of graph.nodes) for (const value of read) lastUse.set(memory[value], id);
  lastUse.set(memory[output], graph.nodes.length);
  const dying = new Map<number, number[]>();
  for (const id of maps) {
    // What nobody reads goes at once; an input stays with who gave it.
    const last = lastUse.get(id) ?? graph.values[id].producer ?? -1;
    dying.set(last, [...(dying.get(last) ?? []), id]);
  }
  let live = inputs.reduce((total, id) => total + bytes(id), 0);
  let [peakBytes, peakAt] = [live, ""];
  for (const { id, output: made, modulePath } of graph.nodes) {
    if (maps.has(made) && memory[made] === made) live += bytes(made);
    if (live > peakBytes) [peakBytes, peakAt] = [live, modulePath];
    for (const value of dying.get(id) ?? []) live -= bytes(value);
  }
  const owned = [...maps].filter((id) => memory[id] === id);
  return { activationBytes: owned.reduce((total, id) => total + bytes(id), 0), peakBytes, peakAt };
}

export interface TrainingMemoryOptions {
  /** Numbers that the optimizer keeps for every trained number: 1 for momentum (default), 2 for Adam, 0 for neither. */
  readonly optimizerStates?: number;
}

/** Memory of one training step. */
export interface TrainingMemory {
  /** Parameters and running statistics. */
  readonly weightBytes: number;
  /** Gradients of the parameters, which live from step to step. */
  readonly gradientBytes: number;
  readonly optimizerBytes: number;
  /** What the forward pass leaves for the backward pass: the input, every map that is not a view, statistics. */
  readonly keptBytes: number;
  /** The most that maps, their gradients and the parameters' gradients take at one moment. */
  readonly stepBytes: number;
  /** `stepBytes`, weights and optimizer together; kernels' workspace comes on top. */
  readonly peakBytes: number;
}

const bytesOf = (tensors: Iterable<Tensor>): number =>
  [...new Set(tensors)].reduce((total, { size, dtype }) => total + size * bytesPerElement(dtype), 0);

/**
 * The memory of a training step of `module` on inputs of these shapes, checkpoints and fused layers as they would
 * run. Nothing is computed and nothing allocated. The loss is taken to be a sum of the output. Throws, as `trace`
 * does, where control flow depends on data.
 *
 *     trainingMemory(densenet121(), [[8, 3, 224, 224]]).peakBytes
 */
export function trainingMemory(
  module: Module,
  inputs: readonly TraceInput[],
  { optimizerStates = 1 }: TrainingMemoryOptions = {},
): TrainingMemory {
  const parameters = module.parameters();
  const trained = parameters.filter(({ requiresGrad }) => requiresGrad);
  const saved = parameters.map(({ grad }) => grad);
  // Gradients are memory of the step: it starts without.
  for (const parameter of parameters) parameter.grad = null;
  try {
    const [keptBytes, stepBytes] = followModule(module, { training: true, inputs }, (...given) => {
      const report = () => shapesOnlyBackend()?.memoryReport();
      const loss = enableGrad(() => sum(module.forward(...given)));
      const kept = report()?.liveBytes ?? 0;
      if (loss.requiresGrad) backward(loss);
      return [kept, report()?.peakBytes ?? 0];
    });
    const weightBytes = bytesOf(module.stateDict().values());
    const gradientBytes = bytesOf(trained);
    const optimizerBytes = optimizerStates * gradientBytes;
    const peakBytes = weightBytes + optimizerBytes + stepBytes;
    return { weightBytes, gradientBytes, optimizerBytes, keptBytes, stepBytes, peakBytes };
  } finally {
    parameters.forEach((parameter, i) => {
      parameter.grad = saved[i];
    });
  }
}
