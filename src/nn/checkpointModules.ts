/** Trading time for memory in a whole network: chosen modules forget what they computed and compute it again. */
import { checkpoint, isGradEnabled } from "../autograd/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Module } from "./module.ts";

/**
 * From now on, in training, the modules at `paths` keep only their inputs and run again in the backward pass, so that
 * a step needs the memory of one of them at a time. Values, gradients and running statistics stay what they were.
 * Throws for a path that is none, and for one that lies inside another. Returns a function that undoes it.
 *
 *     const undo = checkpointModules(model, model.stages.flatMap(({ paths }) => paths));
 */
export function checkpointModules(model: Module, paths: readonly string[]): () => void {
  const modules = model.namedModules();
  const chosen = paths.map((path) => {
    const module = modules.get(path);
    if (!module) throw new Error(`checkpointModules: there is no module ${path}; namedModules() lists all`);
    const outer = paths.find((other) => path.startsWith(`${other}.`));
    if (outer !== undefined)
      throw new Error(`checkpointModules: ${path} lies inside ${outer}; choose one of the two`);
    return module;
  });
  const undo = chosen.map((module) => {
    const { forward } = module;
    const replace = (value: typeof forward): void => {
      Object.defineProperty(module, "forward", { value, writable: true, configurable: true });
    };
    replace((...inputs: Tensor[]) =>
      module.training && isGradEnabled() ? checkpoint(forward, ...inputs) : forward(...inputs),
    );
    return () => replace(forward);
  });
  return () => {
    for (const one of undo) one();
  };
}
