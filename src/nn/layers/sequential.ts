/** Modules one after the other. */
import type { Tensor } from "../../tensor/tensor.ts";
import { type ConvolutionChain, Module } from "../module.ts";
import { ReLU } from "./activations.ts";
import { BatchNorm2d } from "./batchNorm2d.ts";
import { Conv2d } from "./conv2d.ts";

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

  /** Every convolution with a norm or a ReLU right after it; none where a subclass has a `forward` of its own. */
  override convolutionChains(): readonly ConvolutionChain[] {
    if (Reflect.get(this.constructor.prototype, "forward") !== Sequential.prototype.forward) return [];
    const children = [...this.namedChildren()];
    return children.flatMap(([convolution, module], i): ConvolutionChain[] => {
      if (!(module instanceof Conv2d)) return [];
      const norm = children[i + 1]?.[1] instanceof BatchNorm2d ? children[i + 1][0] : undefined;
      const next = children[norm === undefined ? i + 1 : i + 2];
      const activation = next?.[1] instanceof ReLU ? next[0] : undefined;
      return norm === undefined && activation === undefined ? [] : [{ convolution, norm, activation }];
    });
  }
}
