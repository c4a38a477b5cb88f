/**
 * What one recorded op keeps from the forward pass for the backward pass. A tape holds thousands of these at a time,
 * so it is one small object: the closures that gradient rules are given are made when the backward pass reaches it.
 */
import type { Tensor } from "../tensor/tensor.ts";
import type { Differentiable, GradientContext } from "./defineOp.ts";
import type { Saved } from "./node.ts";

/** The tensors and attributes of one call of an op, and how often their memory had been written by then. */
export class RecordedOp<Attributes> implements Saved {
  readonly inputs: readonly Tensor[];
  readonly output: Tensor;
  private readonly op: Differentiable<Attributes>;
  private readonly attributes: Attributes;
  private readonly versions: readonly number[];
  private readonly version: number;

  constructor(
    op: Differentiable<Attributes>,
    inputs: readonly Tensor[],
    output: Tensor,
    attributes: Attributes,
  ) {
    this.op = op;
    this.inputs = inputs;
    this.output = output;
    this.attributes = attributes;
    this.versions = inputs.map((input) => input.storage.version);
    this.version = output.storage.version;
  }

  split(gradient: Tensor, isWanted: (slot: number) => boolean): (slot: number) => Tensor | null {
    const { op, inputs, output, attributes } = this;
    // Shared values belong to one backward pass: the next one may differ in mode, and frees this one's memory.
    let shared: Map<string, unknown> | null = null;
    const context: GradientContext<Attributes> = {
      gradient,
      attributes,
      inputs,
      isWanted,
      input: (index) => this.unchanged(inputs[index], this.versions[index], index),
      output: () => this.unchanged(output, this.version, null),
      share<Value>(key: string, compute: () => Value): Value {
        shared ??= new Map();
        if (!shared.has(key)) shared.set(key, compute());
        return shared.get(key) as Value;
      },
    };
    return (slot) => ruleOf(op, slot)?.(context, slot) ?? null;
  }

  private unchanged(tensor: Tensor, saved: number, slot: number | null): Tensor {
    if (tensor.storage.version !== saved)
      throw new Error(
        `backward: ${slot === null ? "the output" : `input ${slot}`} of ${this.op.name} was changed in place after the forward pass saved it; ` +
          "clone() it before changing it, or change it after backward()",
      );
    return tensor;
  }
}

function ruleOf<Attributes>({ gradients }: Differentiable<Attributes>, index: number) {
  return gradients[Math.min(index, gradients.length - 1)] ?? null;
}

/** True when a gradient of `op` would flow to one of the inputs. */
export function gradientFlows<Attributes>(
  op: Differentiable<Attributes>,
  inputs: readonly Tensor[],
): boolean {
  for (let i = 0; i < inputs.length; i++) if (inputs[i].requiresGrad && ruleOf(op, i)) return true;
  return false;
}
