/** What surrounds every call of a module's forward: its path, its hooks, and a note in errors of where they arose. */
import { currentModulePath, withModulePath } from "../autograd/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { ModuleHooks } from "./hooks.ts";
import type { Module } from "./module.ts";

/** Paths of the modules below the outermost one that is running; null when none is. */
let paths: ReadonlyMap<Module, string> | null = null;

/** Errors that say already which module they come from. */
const located = new WeakSet<Error>();

function pathOf(module: Module): string {
  const known = paths?.get(module);
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
  const outermost = paths === null;
  paths ??= new Map([...module.namedModules()].map(([path, child]) => [child, path]));
  const path = pathOf(module);
  try {
    return withModulePath(path, () => hooks.around(module, inputs, forward));
  } catch (error) {
    if (error instanceof Error && !located.has(error)) {
      located.add(error);
      if (path) error.message += ` (in ${path})`;
    }
    throw error;
  } finally {
    if (outermost) paths = null;
  }
}
