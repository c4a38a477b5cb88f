/** Modules one after the other. */
import type { Tensor } from "../../tensor/tensor.ts";
import { Module } from "../module.ts";

/**
 * Feeds each module's output to the next: `new Sequential(a, b)` names them "0" and "1",
 * `new Sequential({ conv0: a, norm0: b })` by key.
 */
export class Sequential extends Module {
  constructor(first?: Module | Readonly<Record<string, Module>>, ...rest: readonly Module[]) {
    super();
    const entries =
      first instanceof Module || !first
        ? [first, ...rest].flatMap((module, i) => (module ? [[String(i), module] as const] : []))
        : Object.entries(first);
    for (const [name, module] of entries) this.addModule(name, module);
  }

  override forward(x: Tensor): Tensor {
    let result = x;
    for (const module of this.namedChildren().values()) result = module.forward(result);
    return result;
  }
}
