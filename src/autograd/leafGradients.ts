/** Where leaves keep the sum of their gradients: in memory that lives as long as the leaf, across steps. */
import type { Storage } from "../tensor/storage.ts";
import { Tensor } from "../tensor/tensor.ts";
import { add } from "./ops/arithmetic.ts";
import { clone } from "./ops/copy.ts";
import { addInPlace } from "./ops/inPlace.ts";

/** Gradients in memory that the engine allocated for a leaf, and may free with it. */
const ownGradients = new WeakSet<Tensor>();
/** How many leaves have their gradient in a piece of memory: those of a norm's weight and bias lie in one. */
const leavesIn = new WeakMap<Storage, number>();

/**
 * Forgets the gradient of a leaf, and frees its memory if a backward pass allocated it and no other leaf's gradient
 * lies there: `clone()` a gradient that is to be kept.
 */
export function clearGrad(leaf: Tensor): void {
  const { grad } = leaf;
  leaf.grad = null;
  if (!grad || !ownGradients.delete(grad)) return;
  const others = (leavesIn.get(grad.storage) ?? 1) - 1;
  leavesIn.set(grad.storage, others);
  if (others === 0) grad.dispose();
}

/**
 * Adds `total` to the leaf's gradient. Where there is none yet, `total` itself becomes it if `handOver()` gives its
 * memory away, else a copy of it.
 */
export function accumulateInto(leaf: Tensor, total: Tensor, handOver: () => boolean): Tensor {
  if (leaf.grad && !leaf.grad.storage.freed && !leaf.grad.requiresGrad) {
    addInPlace(leaf.grad, total);
    return leaf.grad;
  }
  const own = leaf.grad
    ? add(leaf.grad, total)
    : handOver() && mayLieIn(leaf, total.storage)
      ? viewOf(total)
      : clone(total);
  const leaves = leavesIn.get(own.storage) ?? 0;
  if (leaves === 0) own.storage.accompany(leaf.storage);
  leavesIn.set(own.storage, leaves + 1);
  ownGradients.add(own);
  return own;
}

/** Whether memory that other leaves' gradients may lie in as well lives as long as this leaf. */
function mayLieIn(leaf: Tensor, memory: Storage): boolean {
  return (leavesIn.get(memory) ?? 0) === 0 || memory.scope === leaf.storage.scope;
}

/** A tensor of its own on the same memory: the pass may have shown the other to listeners. */
function viewOf({ storage, shape, strides, offset }: Tensor): Tensor {
  return new Tensor(storage, shape, strides, offset);
}
