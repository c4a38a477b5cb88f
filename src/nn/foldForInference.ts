/** A trained model made faster to evaluate: batch norms become part of the convolutions before them. */
import { ReLU } from "./layers/activations.ts";
import { BatchNorm2d } from "./layers/batchNorm2d.ts";
import { Conv2d } from "./layers/conv2d.ts";
import { FoldedConv2d } from "./layers/foldedConv2d.ts";
import { Identity } from "./layers/shape.ts";
import type { Module } from "./module.ts";

/** In how many places of the tree each module stands. */
function placesOf(model: Module): ReadonlyMap<Module, number> {
  const places = new Map<Module, number>();
  for (const module of model.namedModules().values())
    for (const child of module.namedChildren().values()) places.set(child, (places.get(child) ?? 0) + 1);
  return places;
}

/** A subclass may compute something else. */
const isPlain = <Layer extends Module>(
  module: Module | undefined,
  Class: new (...given: never[]) => Layer,
): module is Layer => module?.constructor === Class;

/** Folds what `parent` says may be folded, where each layer is what it seems to be and stands nowhere else. */
function foldChildren(parent: Module, places: ReadonlyMap<Module, number>): void {
  const children = parent.namedChildren();
  const own = (name: string | undefined): Module | undefined => {
    const child = name === undefined ? undefined : children.get(name);
    return child && places.get(child) === 1 ? child : undefined;
  };
  for (const chain of parent.convolutionChains()) {
    for (const name of Object.values(chain))
      if (name !== undefined && !children.has(name))
        throw new Error(
          `foldForInference: ${parent.constructor.name}.convolutionChains() names ${name}, which is no child of it; ` +
            `its children are ${[...children.keys()].join(", ")}`,
        );
    const [conv, follower] = [own(chain.convolution), own(chain.norm)];
    if (!isPlain(conv, Conv2d)) continue;
    const norm = isPlain(follower, BatchNorm2d) ? follower : null;
    // With a norm between that stays, the ReLU is not the convolution's.
    const reached = chain.norm === undefined || norm !== null;
    const activation = reached && isPlain(own(chain.activation), ReLU);
    if (!norm && !activation) continue;
    parent.replaceModule(chain.convolution, new FoldedConv2d(conv, { norm, activation }));
    if (norm && chain.norm !== undefined) parent.replaceModule(chain.norm, new Identity().eval());
    if (activation && chain.activation !== undefined)
      parent.replaceModule(chain.activation, new Identity().eval());
  }
}

/**
 * A copy of `model` for evaluation, in which every batch norm right after a convolution is folded into the
 * convolution's weight and bias, and a ReLU after it is applied in the same pass as the bias. It finds them in every
 * `Sequential`, and in modules that name them by `convolutionChains()`. The outputs are the model's in evaluation up to
 * rounding; the model itself is left as it is, and changes to it later do not reach the copy. Hooks are not copied.
 *
 * Norms that stand before their convolution (a dense layer's) stay: there is a ReLU between, and `preActivated` applies
 * both while the convolution reads its input, which costs next to nothing.
 *
 *     const fast = foldForInference(model.eval());
 *     const logits = noGrad(() => fast.forward(images));
 *
 * Throws when the model, or a module in it, is in training mode: its norms would use the statistics of each batch.
 */
export function foldForInference<Model extends Module>(model: Model): Model {
  for (const [path, module] of model.namedModules())
    if (module.training)
      throw new Error(
        `foldForInference: ${path || model.constructor.name} is in training mode, where batch norms use each batch's own ` +
          "statistics; call eval() on the model first",
      );
  const folded = model.copy();
  const places = placesOf(folded);
  for (const module of folded.namedModules().values()) foldChildren(module, places);
  return folded;
}
