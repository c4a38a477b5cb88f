/**
 * Where an imported model keeps its numbers: floating-point initializers become parameters and buffers under their
 * ONNX names, read as paths, so that `stateDict()` has the names of the model that was exported.
 */
import { isFloat } from "../../../backends/dtype.ts";
import { Module, Parameter } from "../../../nn/index.ts";
import type { Tensor } from "../../../tensor/tensor.ts";
import { dtypeOfStored } from "../../elements.ts";
import type { HostTensor, OnnxNode } from "../model.ts";
import { tensorOfHost } from "../tensors.ts";

/** Inputs of operators that training changes; batch norm's statistics, 3 and 4, are buffers. */
const trainedInputs: Readonly<Record<string, readonly number[]>> = {
  Add: [0, 1],
  BatchNormalization: [1, 2],
  Conv: [1, 2],
  Gemm: [1, 2],
  MatMul: [0, 1],
  PRelu: [1],
};

/** Names with more parts are no paths of modules. */
const maxDepth = 32;

/** A node of the tree of names; it holds numbers and computes nothing. */
class NameScope extends Module {
  override forward(): Tensor {
    throw new Error("an imported ONNX model is called as a whole: its parts only hold parameters");
  }
}

/** The names of values that some operator reads as a weight. */
export function trainedNames(nodes: readonly OnnxNode[]): ReadonlySet<string> {
  const names = new Set<string>();
  for (const { opType, inputs } of nodes)
    for (const index of trainedInputs[opType] ?? []) if (inputs[index]) names.add(inputs[index]);
  return names;
}

/** Operators whose inputs after the first are settings (scales, bounds, margins), not numbers of the network. */
const configured = new Set(["Clip", "Pad", "Resize", "Upsample"]);

/** The names of values that some operator computes with; others are settings, or are not read at all. */
export function operandNames(nodes: readonly OnnxNode[]): ReadonlySet<string> {
  return new Set(
    nodes.flatMap(({ opType, inputs }) => (configured.has(opType) ? inputs.slice(0, 1) : inputs)),
  );
}

/** Whether an initializer that is an operand belongs to the state; scalars and integers are constants of the graph. */
export function isState({ format, shape }: HostTensor): boolean {
  return isFloat(dtypeOfStored(format)) && shape.length > 0;
}

/** Adds initializers to the state of a module, and remembers which names are taken. */
export class StateBuilder {
  private readonly root: Module;
  private readonly scopes = new Map<string, Module>();
  private readonly tensors = new Set<string>();
  private unnamed = 0;

  constructor(root: Module) {
    this.root = root;
    this.scopes.set("", root);
  }

  /**
   * Adds an initializer by its name where that can be a path, else as `tensor0`, `tensor1`, …. Returns its path.
   * Throws a FileFormatError when an integer does not fit.
   */
  add(name: string, host: HostTensor, trained: boolean): string {
    const parts = name.split(".");
    const scope = parts.length <= maxDepth ? this.scopeOf(parts.slice(0, -1)) : null;
    const last = parts[parts.length - 1];
    const path = scope && this.isFree(scope, name, last) ? name : this.unusedName();
    this.tensors.add(path);
    const tensor = tensorOfHost(host, `tensor ${JSON.stringify(name)}`);
    const [holder, key] = path === name && scope ? [scope, last] : [this.root, path];
    if (trained) Reflect.set(holder, key, new Parameter(tensor));
    else holder.registerBuffer(key, tensor);
    return path;
  }

  /** The module that holds what stands below a path, made on the way; null where a part cannot be a name. */
  private scopeOf(parts: readonly string[]): Module | null {
    let [scope, path] = [this.root, ""];
    for (const part of parts) {
      path = path === "" ? part : `${path}.${part}`;
      const known = this.scopes.get(path);
      if (!known && !this.isFree(scope, path, part)) return null;
      scope = known ?? scope.addModule(part, new NameScope());
      this.scopes.set(path, scope);
    }
    return scope;
  }

  private isFree(scope: Module, path: string, key: string): boolean {
    return key !== "" && !this.scopes.has(path) && !this.tensors.has(path) && !Reflect.has(scope, key);
  }

  private unusedName(): string {
    let path: string;
    do path = `tensor${this.unnamed++}`;
    while (!this.isFree(this.root, path, path));
    return path;
  }
}
