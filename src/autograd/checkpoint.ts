/** Trading time for memory: a part of the forward pass that is computed again when its gradient is needed. */
import { defaultGenerator } from "../tensor/generator.ts";
import { scope } from "../tensor/scope.ts";
import { Tensor } from "../tensor/tensor.ts";
import { computingForLater, type GradientContext, record } from "./defineOp.ts";
import { backward } from "./engine.ts";
import { atPlace, currentPlace, enableGrad, isGradEnabled, noGrad } from "./mode.ts";

let recomputing = false;

/** True while `checkpoint` runs its function for the second time: running statistics must not move again. */
export function isRecomputing(): boolean {
  return recomputing;
}

function asRecomputation<Result>(body: () => Result): Result {
  const saved = recomputing;
  recomputing = true;
  try {
    return body();
  } finally {
    recomputing = saved;
  }
}

/**
 * Computes `body(...inputs)` without keeping what it computed on the way; the backward pass runs it again. Random
 * draws repeat, and running statistics move once. The gradients are first-order only: `createGraph` is refused.
 * Whatever else the body reads that gradients must flow through has to be among the inputs, except parameters, whose
 * gradients are added to their `grad`; `grad()` cannot ask for those.
 *
 *     const y = checkpoint((x) => denseBlock.forward(x), x);
 */
export function checkpoint(body: (...inputs: Tensor[]) => Tensor, ...inputs: Tensor[]): Tensor {
  const generator = defaultGenerator();
  const before = generator.state();
  const run = () => scope(() => noGrad(() => body(...inputs)));
  const output = isGradEnabled() ? computingForLater(run) : run();
  if (!isGradEnabled()) return output;

  const here = currentPlace();
  const recompute = ({ gradient, input }: GradientContext<object>): (Tensor | null)[] => {
    if (isGradEnabled())
      throw new Error(
        "checkpoint: its gradient cannot be differentiated again; call backward without createGraph",
      );
    const after = generator.state();
    generator.restore(before);
    try {
      return scope(() => {
        const leaves = inputs.map((_, index) => {
          const { storage, shape, strides, offset, requiresGrad } = input(index);
          const leaf = new Tensor(storage, shape, strides, offset);
          if (requiresGrad) leaf.requiresGrad = true;
          return leaf;
        });
        const again = atPlace(here, () =>
          asRecomputation(() => computingForLater(() => enableGrad(() => body(...leaves)))),
        );
        if (again.requiresGrad) backward(again, gradient);
        return leaves.map((leaf) => leaf.grad);
      });
    } finally {
      generator.restore(after);
    }
  };
  const gradients = [
    (context: GradientContext<object>, index: number) =>
      context.share("recomputed", () => recompute(context))[index] ?? null,
  ];
  // Parameters used inside receive their gradients during the recomputation; the trigger makes it happen even
  // when no input requires a gradient.
  const trigger = new Tensor(output.storage, output.shape, output.strides, output.offset);
  trigger.requiresGrad = true;
  const result = new Tensor(output.storage, output.shape, output.strides, output.offset);
  return record({ name: "checkpoint", gradients }, [...inputs, trigger], result, {});
}
