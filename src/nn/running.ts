/** What surrounds every call of a module's forward: its path, its hooks, and a note in errors of where they arose. */
import { currentModulePath, currentModulePaths, withModulePath } from "../autograd/mode.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { ModuleHooks } from "./hooks.ts";
import type { Module } from "./module.ts";

/** Errors that say already which module they come from. */
const located = new WeakSet<Error>();

/** The path of a module among those of the outermost one; by its class when it is not registered there. */
function pathOf(module: Module, paths: ReadonlyMap<object, string>): string {
  const known = paths.get(module);
  if (known !== undefined) return known;
  const outer = currentModulePath();
  return outer ? `${outer}.${module.constructor.name}` : module.constructor.name;
}

/** Runs `forward` as the call of `module`. */
export function runInModule(
  module: Module,
  hooks: ModuleHooks,
  inputs: readonly Tensor[],
  forward: (...inputs: Tensor[]) => Tensor,
): Tensor {
  const paths =
    currentModulePaths() ?? new Map([...module.namedModules()].map(([path, child]) => [child, path]));
  const path = pathOf(module, paths);
  try {
    return withModulePath(path, () => hooks.around(module, inputs, forward), paths);
  } catch (error) {
    if (error instanceof Error && !located.has(error)) {
      located.add(error);
      if (path) error.message += ` (in ${path})`;
    }
    throw error;
  }
}
