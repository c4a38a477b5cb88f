/**
 * A gradient written by hand: for a formula that is cheaper or more accurate than what autograd would derive, for a
 * straight-through estimator, or for a backward pass that shall do something other than the derivative.
 */
import { formatShape, sameShape } from "../tensor/layout.ts";
import { Tensor } from "../tensor/tensor.ts";
import { type GradientContext, record } from "./defineOp.ts";
import { noGrad } from "./mode.ts";

/** What a hand-written gradient is given. */
export interface CustomGradientContext {
  /** Gradient of the loss with respect to the function's output, in the output's shape. */
  readonly gradient: Tensor;
  /** Input `index` of the forward pass. Throws when it was changed in place since. */
  input(index: number): Tensor;
  /** The result of the forward pass. Throws when it was changed in place since. */
  output(): Tensor;
}

/**
 * The function `forward` with `gradient` in place of the derivative that autograd would find. `gradient` returns
 * one tensor per input, in the input's shape, or null where no gradient flows. Write it with tensor operations and
 * it can be differentiated again.
 *
 *     const signStraightThrough = customGradient("signStraightThrough", (x) => sign(x), ({ gradient }) => [gradient]);
 *
 * `name` appears on the tape and in messages. The backward pass throws when `gradient` returns the wrong number of
 * tensors or one of a wrong shape; `gradcheck` tells whether the numbers are right.
 */
export function customGradient<Inputs extends Tensor[]>(
  name: string,
  forward: (...inputs: Inputs) => Tensor,
  gradient: (context: CustomGradientContext) => readonly (Tensor | null)[],
): (...inputs: Inputs) => Tensor {
  const rule = (context: GradientContext<object>, index: number) =>
    context.share("pieces", () => piecesOf(name, gradient, context))[index];
  return (...inputs) => {
    const { storage, shape, strides, offset } = noGrad(() => forward(...inputs));
    // A tensor of its own, since `forward` may return one of its inputs.
    const output = new Tensor(storage, shape, strides, offset);
    return record({ name, gradients: [rule] }, inputs, output, {});
  };
}

function piecesOf(
  name: string,
  gradient: (context: CustomGradientContext) => readonly (Tensor | null)[],
  context: GradientContext<object>,
): readonly (Tensor | null)[] {
  const pieces = gradient(context);
  const { inputs } = context;
  if (pieces.length !== inputs.length)
    throw new Error(
      `${name}: its gradient returned ${pieces.length} tensors for ${inputs.length} inputs; return one per input, null where none flows`,
    );
  pieces.forEach((piece, i) => {
    if (piece && !sameShape(piece.shape, inputs[i].shape))
      throw new Error(
        `${name}: its gradient for input ${i} has shape ${formatShape(piece.shape)}, the input ${formatShape(inputs[i].shape)}; sum it over the axes that broadcast`,
      );
  });
  return pieces;
}
