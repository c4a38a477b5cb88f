/**
 * Gradients from a definition. An op whose fast kernel computes something that other ops can express
 * (batch normalisation, say) states that expression once, and its gradients of every further order follow.
 */
import type { Tensor } from "../tensor/tensor.ts";
import { defineView, type GradientContext, type GradientRule, type ViewOp } from "./defineOp.ts";
import { grad } from "./engine.ts";
import { enableGrad, isGradEnabled } from "./mode.ts";

/** A second name for a tensor, on the tape as an op of its own. */
const aliasView: ViewOp<object> = defineView({
  name: "alias",
  summary: "x itself, as a tensor of its own on the tape",
  layout: (input) => input,
  gradients: [({ gradient }) => gradient],
  samples: () => [{ inputs: [{ shape: [2, 3] }], attributes: {} }],
  draw: (source) => ({ inputs: [{ shape: source.shape(0, 4) }], attributes: {} }),
});

/** The same memory as a tensor of its own on the tape, so that it can carry hooks of its own. */
export function alias(x: Tensor): Tensor {
  return aliasView(x, {});
}

/**
 * A gradient rule that differentiates `definition`, the op written with other ops. `inputs` says which inputs the
 * definition depends on differentiably; the others get null.
 */
export function gradientsOf<Attributes>(
  inputs: readonly number[],
  definition: (inputs: readonly Tensor[], attributes: Attributes) => Tensor,
): GradientRule<Attributes> {
  return (context, index) => {
    if (!inputs.includes(index)) return null;
    const pieces = context.share("gradientsOf", () => differentiateDefinition(context, inputs, definition));
    return pieces[inputs.indexOf(index)];
  };
}

function differentiateDefinition<Attributes>(
  context: GradientContext<Attributes>,
  inputs: readonly number[],
  definition: (inputs: readonly Tensor[], attributes: Attributes) => Tensor,
): Tensor[] {
  // The definition is differentiated with respect to aliases, so that a path from one input to another outside
  // the op does not count.
  const all = context.inputs.map((_, index) => enableGrad(() => asVariable(context.input(index))));
  const output = enableGrad(() => definition(all, context.attributes));
  return grad(
    [output],
    inputs.map((index) => all[index]),
    {
      gradients: [context.gradient],
      createGraph: isGradEnabled(),
      allowUnused: true,
    },
  );
}

function asVariable(x: Tensor): Tensor {
  const variable = alias(x);
  if (!variable.requiresGrad && (x.dtype === "f32" || x.dtype === "f64")) variable.requiresGrad = true;
  return variable;
}
