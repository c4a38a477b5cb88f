/**
 * The base class of layers and networks: parameters, buffers and children by name, modes, state and hooks.
 *
 * Whatever a module keeps in its own properties belongs to it: a Parameter, a Module, an array of modules. Names are
 * dotted paths as in PyTorch (`features.denseblock1.denselayer2.conv1.weight`).
 */
import { clearGrad, clone, copyInto, noGrad, to } from "../autograd/index.ts";
import { isFloat } from "../backends/dtype.ts";
import { tensor } from "../tensor/create.ts";
import { formatShape, sameShape } from "../tensor/layout.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type BackwardHook, type ForwardHook, type ForwardPreHook, ModuleHooks } from "./hooks.ts";
import { Parameter } from "./parameter.ts";
import { runInModule } from "./running.ts";

export interface LoadStateOptions {
  /** Throw when names are missing or unexpected. Default true. */
  readonly strict?: boolean;
}

export interface LoadStateReport {
  readonly missing: readonly string[];
  readonly unexpected: readonly string[];
}

/** Copies an entry of a state, from another backend too where that can be read at once. */
function copyState(name: string, source: Tensor, target: Tensor): void {
  const { shape, backend } = source;
  if (backend === target.backend) copyInto(target, to(source, target.dtype));
  else if (backend.readSync)
    copyInto(target, tensor(source.dataSync(), { shape, dtype: target.dtype, backend: target.backend }));
  else
    throw new Error(
      `loadStateDict: ${name} lives on ${backend.name} and the module on ${target.backend.name}; ` +
        "read it first: tensor(await source.data(), { shape: source.shape })",
    );
}

/**
 * Children of a module that run one after the other, each reading what the one before gave, which nothing else reads:
 * a convolution, then a batch norm, a ReLU, or both.
 */
export interface ConvolutionChain {
  readonly convolution: string;
  readonly norm?: string | undefined;
  readonly activation?: string | undefined;
}

export abstract class Module {
  /** True in training mode: dropout drops, batch norm uses the batch's statistics. */
  training = true;
  readonly #buffers = new Map<string, Tensor>();
  readonly #children = new Map<string, Module>();
  readonly #hooks = new ModuleHooks();

  constructor() {
    // Hooks, module paths and error notes must work however the module is called, so forward itself is wrapped.
    const forward = this.forward;
    const wrapped = (...inputs: Tensor[]): Tensor => runInModule(this, this.#hooks, inputs, forward);
    Object.defineProperty(this, "forward", { value: wrapped, writable: true, configurable: true });
  }

  /** Computes the module's output. Define it as a method, not as a property. */
  abstract forward(...inputs: Tensor[]): Tensor;

  /** Adds a child under a name that is not a property's, `denselayer1` say. Returns the child. */
  addModule<Child extends Module>(name: string, child: Child): Child {
    this.#checkName(name);
    this.#children.set(name, child);
    return child;
  }

  /** Adds a tensor that belongs to the state but is not trained, such as running statistics. Returns it. */
  registerBuffer(name: string, buffer: Tensor): Tensor {
    this.#checkName(name);
    this.#buffers.set(name, buffer.keep().setCategory("weights"));
    return buffer;
  }

  /** The buffer of that name. Throws when there is none. */
  buffer(name: string): Tensor {
    const buffer = this.#buffers.get(name);
    if (!buffer) throw new Error(`${this.constructor.name}: has no buffer ${name}`);
    return buffer;
  }

  /** Direct children by name, in the order of their definition. */
  namedChildren(): Map<string, Module> {
    const children = new Map<string, Module>();
    for (const name of Object.keys(this)) {
      const value: unknown = Reflect.get(this, name);
      if (value instanceof Module) children.set(name, value);
      else if (Array.isArray(value))
        value.forEach((item: unknown, i) => {
          if (item instanceof Module) children.set(`${name}.${i}`, item);
        });
    }
    for (const [name, child] of this.#children) children.set(name, child);
    return children;
  }

  /**
   * Puts another module in the place of the child of that name; the module must call it by `forward` alone. Throws
   * when there is no such child.
   */
  replaceModule(name: string, module: Module): void {
    if (!this.namedChildren().has(name))
      throw new Error(
        `${this.constructor.name}: has no child ${name}; it has ${[...this.namedChildren().keys()].join(", ") || "none"}`,
      );
    const [property, index] = name.split(".");
    const list: unknown = Reflect.get(this, property);
    if (this.#children.has(name)) this.#children.set(name, module);
    else if (index !== undefined && Array.isArray(list)) list[Number(index)] = module;
    else Reflect.set(this, name, module);
  }

  /**
   * An independent copy: parameters, buffers and modules of its own, shared where they were shared; hooks stay behind.
   * Whatever else a module keeps is shared with the original. Modules with `#private` fields of their own cannot be
   * copied: make a new one and load the state.
   */
  copy(): this {
    return this.#copy(new Map());
  }

  /**
   * Which of its children `foldForInference` may make one: `Sequential` finds them, other modules name those that
   * their `forward` calls in this order. None by default.
   */
  convolutionChains(): readonly ConvolutionChain[] {
    return [];
  }

  /** This module under "" and all modules below it, by path. A module used twice appears under its first path. */
  namedModules(): Map<string, Module> {
    const result = new Map<string, Module>();
    const seen = new Set<Module>();
    const visit = (module: Module, path: string): void => {
      if (seen.has(module)) return;
      seen.add(module);
      result.set(path, module);
      for (const [name, child] of module.namedChildren()) visit(child, path ? `${path}.${name}` : name);
    };
    visit(this, "");
    return result;
  }

  /** Every parameter by path, each once. */
  namedParameters(): Map<string, Parameter> {
    return this.#collect((module) => module.#ownParameters());
  }

  /** Every buffer by path. */
  namedBuffers(): Map<string, Tensor> {
    return this.#collect((module) => module.#buffers);
  }

  parameters(): Parameter[] {
    return [...this.namedParameters().values()];
  }

  /** Number of trained numbers. */
  parameterCount(): number {
    return this.parameters().reduce((sum, parameter) => sum + parameter.size, 0);
  }

  /** Switches this module and all below it to training mode, or with `false` to evaluation. */
  train(mode = true): this {
    for (const module of this.namedModules().values()) module.training = mode;
    return this;
  }

  /** Switches to evaluation mode. */
  eval(): this {
    return this.train(false);
  }

  /** Forgets the gradients of all parameters and frees their memory. */
  zeroGrad(): void {
    for (const parameter of this.parameters()) clearGrad(parameter);
  }

  /**
   * Every parameter and buffer by path, in PyTorch's order; the tensors are the module's own. As in PyTorch, what is
   * shared appears under each of its names.
   */
  stateDict(): Map<string, Tensor> {
    const state = new Map<string, Tensor>();
    const visit = (module: Module, prefix: string): void => {
      for (const [name, value] of [...module.#ownParameters(), ...module.#buffers])
        state.set(prefix + name, value);
      for (const [name, child] of module.namedChildren()) visit(child, `${prefix}${name}.`);
    };
    visit(this, "");
    return state;
  }

  /**
   * Copies values into the parameters and buffers. Everything is checked before anything is written: shapes always,
   * names too unless `strict` is false. Dtypes are converted.
   */
  loadStateDict(
    state: ReadonlyMap<string, Tensor>,
    { strict = true }: LoadStateOptions = {},
  ): LoadStateReport {
    const own = this.stateDict();
    const missing = [...own.keys()].filter((name) => !state.has(name));
    const unexpected = [...state.keys()].filter((name) => !own.has(name));
    const problems = strict
      ? [...missing.map((name) => `missing ${name}`), ...unexpected.map((name) => `unexpected ${name}`)]
      : [];
    for (const [name, target] of own) {
      const source = state.get(name);
      if (source && !sameShape(source.shape, target.shape))
        problems.push(`${name} is ${formatShape(source.shape)}, the module has ${formatShape(target.shape)}`);
    }
    if (problems.length > 0)
      throw new Error(
        `loadStateDict: the state does not fit ${this.constructor.name}:\n  ${problems.slice(0, 20).join("\n  ")}` +
          (problems.length > 20 ? `\n  and ${problems.length - 20} more` : "") +
          (strict ? "\nPass { strict: false } to accept missing and unexpected names." : ""),
      );
    scope(() =>
      noGrad(() => {
        for (const [name, target] of own) {
          const source = state.get(name);
          if (source) copyState(name, source, target);
        }
      }),
    );
    return { missing, unexpected };
  }

  /**
   * Converts all floating-point parameters and buffers; gradients are forgotten. Optimizers made before hold the old
   * parameters: make them anew.
   */
  to(dtype: "f32" | "f64"): this {
    const convert = (tensor: Tensor): Tensor => (isFloat(tensor.dtype) ? to(tensor.detach(), dtype) : tensor);
    // Modules that share a parameter go on sharing it.
    const converted = new Map<Parameter, Parameter>();
    const convertParameter = (parameter: Parameter): Parameter => {
      const known = converted.get(parameter);
      if (known) return known;
      const fresh = new Parameter(convert(parameter));
      fresh.requiresGrad = parameter.requiresGrad;
      converted.set(parameter, fresh);
      return fresh;
    };
    for (const module of this.namedModules().values()) {
      for (const [name, parameter] of module.#ownParameters())
        Reflect.set(module, name, convertParameter(parameter));
      for (const [name, buffer] of [...module.#buffers])
        module.#buffers.set(name, convert(buffer).keep().setCategory("weights"));
    }
    return this;
  }

  /** Calls `hook` with the inputs before every forward; what it returns replaces them. Returns a remover. */
  registerForwardPreHook(hook: ForwardPreHook): () => void {
    return this.#hooks.addForwardPre(hook);
  }

  /** Calls `hook` with inputs and output after every forward; what it returns replaces the output. Returns a remover. */
  registerForwardHook(hook: ForwardHook): () => void {
    return this.#hooks.addForward(hook);
  }

  /**
   * Calls `hook` with the gradients of the module's inputs and output in every backward pass. For a module of one
   * input, what it returns replaces the input's gradient. Returns a remover.
   */
  registerFullBackwardHook(hook: BackwardHook): () => void {
    return this.#hooks.addBackward(hook);
  }

  /** Whether a hook is registered on this module. */
  hasHooks(): boolean {
    return this.#hooks.any;
  }

  /** What `toString` writes in the parentheses of a module without children. */
  describe(): string {
    return "";
  }

  /** The modules as a tree, like PyTorch's print. */
  toString(): string {
    const children = [...this.namedChildren()];
    if (children.length === 0) return `${this.constructor.name}(${this.describe()})`;
    const lines = children.map(([name, child]) => `  (${name}): ${String(child).replaceAll("\n", "\n  ")}`);
    return `${this.constructor.name}(\n${lines.join("\n")}\n)`;
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }

  /** `copies` holds the copies of parameters, buffers and modules that were made already, by their originals. */
  #copy(copies: Map<object, object>): this {
    const once = <Item extends object>(original: Item, make: () => Item): Item => {
      const known = copies.get(original);
      if (known) return known as Item;
      const made = make();
      copies.set(original, made);
      return made;
    };
    const copyTensor = (tensor: Tensor): Tensor => noGrad(() => clone(tensor));
    const copyParameter = (parameter: Parameter): Parameter => {
      const fresh = new Parameter(copyTensor(parameter));
      fresh.requiresGrad = parameter.requiresGrad;
      return fresh;
    };
    const copyValue = (value: unknown): unknown => {
      if (Array.isArray(value)) return value.map(copyValue);
      if (value instanceof Parameter) return once(value, () => copyParameter(value));
      return value instanceof Module ? value.#copy(copies) : value;
    };
    return once<this>(this, () => {
      // Module's constructor alone: that of the class would want its arguments, and draw random numbers.
      const fresh: this = Reflect.construct(Module, [], this.constructor);
      for (const name of Object.keys(this)) Reflect.set(fresh, name, copyValue(Reflect.get(this, name)));
      for (const [name, buffer] of this.#buffers)
        fresh.#buffers.set(
          name,
          once(buffer, () => copyTensor(buffer).keep().setCategory("weights")),
        );
      for (const [name, child] of this.#children) fresh.#children.set(name, child.#copy(copies));
      return fresh;
    });
  }

  #ownParameters(): Map<string, Parameter> {
    const own = new Map<string, Parameter>();
    for (const name of Object.keys(this)) {
      const value: unknown = Reflect.get(this, name);
      if (value instanceof Parameter) own.set(name, value);
    }
    return own;
  }

  #collect<Item extends Tensor>(own: (module: Module) => ReadonlyMap<string, Item>): Map<string, Item> {
    const result = new Map<string, Item>();
    const seen = new Set<Item>();
    for (const [path, module] of this.namedModules())
      for (const [name, item] of own(module)) {
        if (seen.has(item)) continue;
        seen.add(item);
        result.set(path ? `${path}.${name}` : name, item);
      }
    return result;
  }

  #checkName(name: string): void {
    if (!/^[^.]+$/.test(name))
      throw new Error(`${this.constructor.name}: "${name}" is no name: it is empty or has a dot`);
    if (this.#children.has(name) || this.#buffers.has(name) || Object.hasOwn(this, name))
      throw new Error(`${this.constructor.name}: the name ${name} is taken`);
  }
}
