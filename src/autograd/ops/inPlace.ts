/** Writes into existing tensors, for the engine, optimizers, running statistics and loading; never recorded. */
import { add as addExpression, type Expression, input } from "../../backends/expression.ts";
import { broadcastViews } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { referencePointwise } from "./pointwise.ts";

/**
 * `target = expression(inputs)`, in one pass; an input may be `target` itself. The write is counted, so that a
 * backward pass that saved the old value fails with a named error instead of using the new one.
 */
export function assign(
  target: Tensor,
  expression: Expression,
  inputs: readonly Tensor[],
  parameters: readonly number[] = [],
): void {
  target.backend.run({
    kernel: "pointwise",
    reference: referencePointwise,
    inputs: broadcastViews("assign", inputs, target.shape),
    output: target,
    attributes: { expression, parameters },
  });
  target.storage.version += 1;
}

const sumOfBoth = addExpression(input(0), input(1));

/** `target += x` */
export function addInPlace(target: Tensor, x: Tensor): void {
  assign(target, sumOfBoth, [target, x]);
}

const sameValue = input(0);

/** `target = source`, which broadcasts to the target's shape. */
export function copyInto(target: Tensor, source: Tensor): void {
  assign(target, sameValue, [source]);
}
