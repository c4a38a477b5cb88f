/** The hooks of one module, and how backward hooks see the gradients of its inputs and output. */
import { alias, isGradEnabled } from "../autograd/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Module } from "./module.ts";

/** Sees the inputs before forward; what it returns replaces them. */
export type ForwardPreHook = (module: Module, inputs: readonly Tensor[]) => readonly Tensor[] | undefined;
/** Sees inputs and output after forward; what it returns replaces the output. */
export type ForwardHook = (module: Module, inputs: readonly Tensor[], output: Tensor) => Tensor | undefined;
/**
 * Sees the gradients of the inputs (null for those that need none) and of the output; what it returns replaces the
 * gradient of the only input.
 */
export type BackwardHook = (
  module: Module,
  inputGradients: readonly (Tensor | null)[],
  outputGradient: Tensor,
) => Tensor | undefined;

function addTo<Hook>(list: Hook[], hook: Hook): () => void {
  list.push(hook);
  return () => {
    const position = list.indexOf(hook);
    if (position >= 0) list.splice(position, 1);
  };
}

/** Those of `candidates` that a gradient of `output` flows to. */
function sourcesOf(output: Tensor, candidates: readonly Tensor[]): Set<Tensor> {
  const found = new Set<Tensor>();
  const visited = new Set<Tensor>();
  const stack = [output];
  for (let tensor = stack.pop(); tensor; tensor = stack.pop()) {
    if (visited.has(tensor)) continue;
    visited.add(tensor);
    if (candidates.includes(tensor)) {
      if (tensor.requiresGrad) found.add(tensor);
    } else if (tensor.gradFn) stack.push(...tensor.gradFn.inputs);
  }
  return found;
}

export class ModuleHooks {
  readonly #forwardPre: ForwardPreHook[] = [];
  readonly #forward: ForwardHook[] = [];
  readonly #backward: BackwardHook[] = [];

  addForwardPre(hook: ForwardPreHook): () => void {
    return addTo(this.#forwardPre, hook);
  }

  addForward(hook: ForwardHook): () => void {
    return addTo(this.#forward, hook);
  }

  addBackward(hook: BackwardHook): () => void {
    return addTo(this.#backward, hook);
  }

  /** Whether there is a hook of any kind. */
  get any(): boolean {
    return this.#forwardPre.length + this.#forward.length + this.#backward.length > 0;
  }

  /** Runs `forward` of the module with the hooks around it. */
  around(module: Module, inputs: readonly Tensor[], forward: (...inputs: Tensor[]) => Tensor): Tensor {
    let given = inputs;
    for (const hook of this.#forwardPre.slice()) given = hook(module, given) ?? given;
    const watched = this.#backward.length > 0 && isGradEnabled();
    let output = watched ? this.#watch(module, given, forward) : forward.apply(module, [...given]);
    for (const hook of this.#forward.slice()) output = hook(module, given, output) ?? output;
    return output;
  }

  /** Gives inputs and output names of their own on the tape, whose gradients are those of this call alone. */
  #watch(module: Module, inputs: readonly Tensor[], forward: (...inputs: Tensor[]) => Tensor): Tensor {
    const own = inputs.map((input) => (input.requiresGrad ? alias(input) : input));
    const output = alias(forward.apply(module, own));
    if (!output.requiresGrad) return output;
    const hooks = [...this.#backward];
    const used = sourcesOf(output, own);
    const gradients: (Tensor | null)[] = own.map(() => null);
    let outputGradient: Tensor | null = null;
    let arrived = 0;
    const call = (): Tensor | undefined => {
      let replacement: Tensor | undefined;
      for (const hook of hooks)
        if (outputGradient) replacement = hook(module, [...gradients], outputGradient) ?? replacement;
      return own.length === 1 ? replacement : undefined;
    };
    // The output's gradient comes first: it opens each backward pass through this call.
    output.registerHook((gradient) => {
      outputGradient = gradient;
      arrived = 0;
      if (used.size === 0) call();
      return undefined;
    });
    own.forEach((input, i) => {
      if (!used.has(input)) return;
      input.registerHook((gradient) => {
        gradients[i] = gradient;
        arrived += 1;
        return arrived === used.size ? call() : undefined;
      });
    });
    return output;
  }
}
