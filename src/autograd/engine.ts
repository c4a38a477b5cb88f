/**
 * The backward pass. It walks the tape from the newest op to the oldest, asks each op for the gradient pieces of
 * its inputs, shows every piece to the edge listeners, and only then sums them.
 */

import { onesLike, zerosLike } from "../tensor/create.ts";
import { formatShape, sameShape } from "../tensor/layout.ts";
import type { Storage } from "../tensor/storage.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { countingAsGradients } from "./defineOp.ts";
import { GradientSums } from "./gradientSums.ts";
import { accumulateInto } from "./leafGradients.ts";
import { asBackward, enableGrad, noGrad } from "./mode.ts";
import type { Node } from "./node.ts";
import { emitEdge, hasEdgeListeners, hasKeepingEdgeListeners } from "./observers.ts";
import { add } from "./ops/arithmetic.ts";
import { clone } from "./ops/copy.ts";
import { PassScope } from "./passScope.ts";

export interface BackwardOptions {
  /** Keep the tape, to go through it again. Default: the value of `createGraph`. */
  readonly retainGraph?: boolean;
  /** Record the backward pass itself, so that gradients can be differentiated again. Default false. */
  readonly createGraph?: boolean;
}

interface Root {
  readonly tensor: Tensor;
  readonly gradient: Tensor;
}

/** Every node that the roots depend on, newest first; with `targets`, only those a target can be reached from. */
function nodesInOrder(roots: readonly Root[], targets: ReadonlySet<Tensor> | null): Node[] {
  const found = new Set<Node>();
  const stack = roots.flatMap(({ tensor }) => (tensor.gradFn ? [tensor.gradFn] : []));
  for (let node = stack.pop(); node; node = stack.pop()) {
    if (found.has(node)) continue;
    found.add(node);
    for (const input of node.inputs) if (input.gradFn) stack.push(input.gradFn);
  }
  const nodes = [...found].sort((a, b) => b.id - a.id);
  if (!targets) return nodes;
  const leading = new Set<Node>();
  for (const node of [...nodes].reverse())
    if (node.inputs.some((input) => targets.has(input) || (input.gradFn && leading.has(input.gradFn))))
      leading.add(node);
  return nodes.filter((node) => leading.has(node));
}

/**
 * Given the complete gradient of a tensor. `handOver()` gives the gradient's memory away, for as long as the receiver
 * wants; where it is false the memory belongs to others too, or goes on being read.
 */
type Finish = (tensor: Tensor, gradient: Tensor, handOver: () => boolean) => void;

/** Runs the tape. `finish` is given the complete gradient of every leaf, or of every target when there are some. */
function run(
  roots: readonly Root[],
  targets: ReadonlySet<Tensor> | null,
  options: BackwardOptions,
  finish: Finish,
): void {
  // Some who watch the pieces keep them, and a graph of the pass keeps everything.
  if (options.createGraph || hasKeepingEdgeListeners()) {
    walk(roots, targets, options, finish, null);
    return;
  }
  const memory = new PassScope();
  try {
    walk(roots, targets, options, finish, memory);
  } finally {
    memory.close();
  }
}

function walk(
  roots: readonly Root[],
  targets: ReadonlySet<Tensor> | null,
  { createGraph = false, retainGraph = createGraph }: BackwardOptions,
  finish: Finish,
  memory: PassScope | null,
): void {
  const nodes = nodesInOrder(roots, targets);
  const walked = targets ? new Set(nodes) : null;
  const sums = new GradientSums(memory, createGraph);
  const watched = hasEdgeListeners();
  const hold = (piece: Tensor): (() => void) => memory?.holdForListener(piece) ?? (() => {});

  const wants = (tensor: Tensor): boolean =>
    targets
      ? targets.has(tensor) || (tensor.gradFn !== null && walked?.has(tensor.gradFn) === true)
      : tensor.requiresGrad;
  const complete = (tensor: Tensor): Tensor | null => {
    const sum = sums.take(tensor);
    if (!sum) return null;
    if (!memory || !tensor.hasHooks) return tensor.applyHooks(sum);
    memory.giveAway(sum);
    return memory.outside(() => tensor.applyHooks(sum));
  };
  const finishTarget = (tensor: Tensor, gradient: Tensor, handOver = () => false): void => {
    if (targets) memory?.giveAway(gradient);
    finish(tensor, gradient, handOver);
  };

  for (const { tensor, gradient } of roots) if (wants(tensor)) sums.add(tensor, gradient);
  sums.flush();
  for (const node of nodes) {
    const { output } = node;
    const gradient = complete(output);
    if (gradient) {
      if (targets ? targets.has(output) : output.retainsGrad) finishTarget(output, gradient);
      const pieceFor = node.split(gradient, (slot) => wants(node.inputs[slot]));
      for (const [slot, to] of node.inputs.entries()) {
        if (!wants(to)) continue;
        const piece = pieceFor(slot);
        const seen = piece && watched ? emitEdge({ from: node, to, slot, gradient: piece }, hold) : piece;
        if (seen) sums.add(to, seen);
      }
      sums.flush();
      memory?.letGo(gradient);
      memory?.sweep();
    }
    if (!retainGraph) node.release();
  }
  for (const tensor of sums.tensors) {
    const gradient = complete(tensor);
    if (gradient) finishTarget(tensor, gradient, () => memory?.handOver(gradient) === true);
  }
}

function rootGradient(operation: string, tensor: Tensor, gradient: Tensor | undefined): Tensor {
  if (!tensor.requiresGrad)
    throw new Error(
      `${operation}: tensor ${formatShape(tensor.shape)} does not require grad; ` +
        "nothing it was computed from has requiresGrad, or it was computed under noGrad()",
    );
  if (!gradient) {
    if (tensor.size === 1) return onesLike(tensor);
    throw new Error(
      `${operation}: tensor ${formatShape(tensor.shape)} is not a scalar; pass the gradient to start from, or take its mean() or sum()`,
    );
  }
  if (!sameShape(gradient.shape, tensor.shape) || gradient.dtype !== tensor.dtype)
    throw new Error(
      `${operation}: gradient ${formatShape(gradient.shape)} ${gradient.dtype} does not match ` +
        `tensor ${formatShape(tensor.shape)} ${tensor.dtype}`,
    );
  return gradient;
}

function inMode(createGraph: boolean | undefined, body: () => void): void {
  asBackward(() => countingAsGradients(() => (createGraph ? enableGrad(body) : noGrad(body))));
}

/**
 * Adds ∂tensor/∂leaf to the `grad` of every leaf that requires one. `gradient` (default 1 for a scalar) is the
 * gradient to start from. Throws when the tensor is not a scalar and none is given, when nothing requires a
 * gradient, when the tape was released by an earlier pass, or when a saved tensor was changed in place.
 */
export function backward(tensor: Tensor, gradient?: Tensor, options: BackwardOptions = {}): void {
  inMode(options.createGraph, () => {
    const root = { tensor, gradient: rootGradient("backward", tensor, gradient) };
    run([root], null, options, (leaf, total, handOver) => {
      leaf.grad = options.createGraph
        ? leaf.grad
          ? add(leaf.grad, total)
          : total
        : accumulateInto(leaf, total, handOver);
    });
  });
}

export interface GradOptions extends BackwardOptions {
  /** Where to start, one per output; default 1 for scalars. */
  readonly gradients?: readonly Tensor[];
  /** Give zeros for an input that no output depends on, instead of an error. Default false. */
  readonly allowUnused?: boolean;
}

/**
 * Gradients of the outputs' sum with respect to `inputs`, without touching any `grad`. Throws like `backward`, and
 * when an input has no part in the outputs unless `allowUnused`.
 */
export function grad(
  outputs: Tensor | readonly Tensor[],
  inputs: readonly Tensor[],
  options: GradOptions = {},
): Tensor[] {
  const list: readonly Tensor[] = "storage" in outputs ? [outputs] : outputs;
  const results = new Map<Tensor, Tensor>();
  inMode(options.createGraph, () => {
    const roots = list.flatMap((tensor, i) =>
      options.allowUnused && !tensor.requiresGrad
        ? []
        : [{ tensor, gradient: rootGradient("grad", tensor, options.gradients?.[i]) }],
    );
    run(roots, new Set(inputs), options, (tensor, gradient) => void results.set(tensor, gradient));
    // The caller may dispose of each by itself: none may lie in memory that another lies in.
    const taken = new Set<Storage>();
    for (const [tensor, gradient] of results)
      if (taken.has(gradient.storage)) results.set(tensor, clone(gradient));
      else taken.add(gradient.storage);
  });
  return inputs.map((tensor, i) => {
    const result = results.get(tensor);
    if (result) return result;
    if (options.allowUnused) return zerosLike(tensor);
    if (!tensor.requiresGrad)
      throw new Error(
        `grad: input ${i} ${formatShape(tensor.shape)} does not require grad; set requiresGrad before computing with it`,
      );
    throw new Error(
      `grad: the outputs do not depend on input ${i} ${formatShape(tensor.shape)}; pass { allowUnused: true } for zeros`,
    );
  });
}
