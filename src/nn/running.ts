/** What surrounds every call of a module's forward: its path, its hooks, and a note in errors of where they arose. */
import { atPlace, currentPlace, type Place } from "../autograd/mode.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { ModuleHooks } from "./hooks.ts";
import type { Module } from "./module.ts";

/**
 * One call of a module. The paths below the outermost module are looked up when the first of them is asked for: a
 * training step that nobody watches never walks the tree, and a path is never older than its call.
 */
class Call implements Place {
  private readonly module: Module;
  private readonly outer: Call | null;
  private paths: ReadonlyMap<Module, string> | null = null;

  constructor(module: Module, outer: Call | null) {
    this.module = module;
    this.outer = outer;
  }

  /** Among the modules of the outermost one; by its class where it is not registered there. */
  get path(): string {
    const known = this.pathOf(this.module);
    if (known !== undefined) return known;
    const outer = this.outer?.path;
    return outer ? `${outer}.${this.module.constructor.name}` : this.module.constructor.name;
  }

  private pathOf(module: Module): string | undefined {
    if (this.outer) return this.outer.pathOf(module);
    this.paths ??= new Map([...this.module.namedModules()].map(([path, child]) => [child, path]));
    return this.paths.get(module);
  }
}

/** Errors that say already which module they come from. */
const located = new WeakSet<Error>();

/** Runs `forward` as the call of `module`. */
export function runInModule(
  module: Module,
  hooks: ModuleHooks,
  inputs: readonly Tensor[],
  forward: (...inputs: Tensor[]) => Tensor,
): Tensor {
  const outer = currentPlace();
  const call = new Call(module, outer instanceof Call ? outer : null);
  try {
    return atPlace(call, () => hooks.around(module, inputs, forward));
  } catch (error) {
    if (error instanceof Error && !located.has(error)) {
      located.add(error);
      const { path } = call;
      if (path) error.message += ` (in ${path})`;
    }
    throw error;
  }
}
