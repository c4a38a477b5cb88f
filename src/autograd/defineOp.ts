/**
 * How an op is made. One op is one file in `ops/`: its shape rule, reference loop, gradient, cost and the samples
 * that the generic test, the documentation table and the cost model use stand together.
 */
import type {
  Backend,
  HostKernel,
  KernelAttributes,
  KernelName,
  Layout,
  Shape,
} from "../backends/backend.ts";
import { type DType, isFloat } from "../backends/dtype.ts";
import { sizeOf } from "../tensor/layout.ts";
import { Storage } from "../tensor/storage.ts";
import { Tensor } from "../tensor/tensor.ts";
import { currentModulePath, currentPlace, isGradEnabled, noGrad } from "./mode.ts";
import { Node } from "./node.ts";
import { emitOp, hasOpListeners } from "./observers.ts";
import { gradientFlows, RecordedOp } from "./recordedOp.ts";

/** Shape and dtype of an operand, all that a shape rule may look at. */
export interface TensorType {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** What a gradient rule can use. Reading `input` or `output` checks that it was not changed since the forward pass. */
export interface GradientContext<Attributes> {
  /** Gradient of the loss with respect to the op's output. */
  readonly gradient: Tensor;
  readonly attributes: Attributes;
  readonly inputs: readonly TensorType[];
  input(index: number): Tensor;
  output(): Tensor;
  /** Whether this pass asks for the piece of input `index` too. */
  isWanted(index: number): boolean;
  /** Computes something that several inputs' rules need once per backward pass. */
  share<Value>(key: string, compute: () => Value): Value;
}

/** The piece of gradient for input `index`, written with other ops so that it can be differentiated again. */
export type GradientRule<Attributes> = (context: GradientContext<Attributes>, index: number) => Tensor | null;

/** What values an input may take in a test: where the op is smooth, so that finite differences apply. */
export type Domain =
  | { readonly kind: "real" }
  | { readonly kind: "positive" }
  /** At least 0.1 away from each of the points where the op has a kink. */
  | { readonly kind: "away"; readonly from: readonly number[] }
  /** All values pairwise at least 0.05 apart, so that a maximum stays where it is. */
  | { readonly kind: "distinct" }
  /** Integers from 0 to `below` - 1. */
  | { readonly kind: "index"; readonly below: number };

export interface SampleInput {
  readonly shape: Shape;
  /** f64 in the generic test when not stated. */
  readonly dtype?: DType;
  readonly domain?: Domain;
}

/** One set of inputs and attributes for which the op must work. */
export interface Sample<Attributes> {
  readonly inputs: readonly SampleInput[];
  readonly attributes: Attributes;
}

/** Where an op draws the sizes of a random sample from; the testing kit connects it to fast-check. */
export interface SampleSource {
  /** An integer from `low` to `high`, both included. */
  integer(low: number, high: number): number;
  pick<Value>(values: readonly Value[]): Value;
  boolean(): boolean;
  /** A shape with between `minRank` and `maxRank` axes of extent 1 to 5. */
  shape(minRank: number, maxRank: number): number[];
}

interface OpDescription<Attributes> {
  /** One line for the documentation table, with the formula. */
  readonly summary: string;
  /** Rules by input; the last one serves all further inputs. `null`: not differentiable in that input. */
  readonly gradients: readonly (GradientRule<Attributes> | null)[];
  /** Fixed samples, the ugly sizes among them. */
  samples(): readonly Sample<Attributes>[];
  /** A random sample. */
  draw(source: SampleSource): Sample<Attributes>;
}

/** An op that computes: the backend runs a kernel of this name or, where it has none, the reference loop. */
export interface KernelOpSpec<K extends KernelName> extends OpDescription<KernelAttributes[K]> {
  readonly name: K;
  /**
   * Appends inputs that are computed from the others (the statistics of a batch, say), where the caller did not
   * pass them; the gradient rules account for how they depend on the others.
   */
  completeInputs?(inputs: readonly Tensor[], attributes: KernelAttributes[K]): readonly Tensor[];
  /** Output type; throws an error that names the op, the shapes that clash, and the remedy. */
  infer(inputs: readonly TensorType[], attributes: KernelAttributes[K]): TensorType;
  /** Plain loops over any strides: the truth that all faster kernels are tested against. */
  readonly reference: HostKernel<KernelAttributes[K]>;
  /** Floating-point operations, a multiply-add counted as two. */
  flops(inputs: readonly TensorType[], output: TensorType, attributes: KernelAttributes[K]): number;
}

/** An op that only looks at the same memory differently. */
export interface ViewOpSpec<Attributes> extends OpDescription<Attributes> {
  readonly name: string;
  /** The new layout on the input's storage; throws like `infer`. */
  layout(input: Layout & TensorType, attributes: Attributes): Layout;
}

/** An op's specification, its attributes unknown: what the registry-driven tests and tables work with. */
export interface RegisteredOp {
  readonly name: string;
  readonly kind: "kernel" | "view";
  readonly summary: string;
  /** By input, whether a gradient flows to it; the last entry serves all further inputs. */
  readonly differentiable: readonly boolean[];
  readonly samples: () => readonly RegisteredSample[];
  readonly draw: (source: SampleSource) => RegisteredSample;
}

/** A sample tied to its op: runs it, or its reference loop, on given tensors. */
export interface RegisteredSample {
  readonly inputs: readonly SampleInput[];
  readonly attributes: unknown;
  run(inputs: readonly Tensor[]): Tensor;
  /** The output by the op's plain reference loop, whatever kernels the backend has; null for view ops. */
  runReference(inputs: readonly Tensor[]): Tensor | null;
  flops(): number;
}

const registry = new Map<string, RegisteredOp>();

/** Every op there is, by name. */
export function registeredOps(): ReadonlyMap<string, RegisteredOp> {
  return registry;
}

/** Adds an op to the registry; `defineOp`, `defineView` and `definePointwise` do. */
export function register(op: RegisteredOp): void {
  if (registry.has(op.name)) throw new Error(`defineOp: op ${op.name} is defined twice`);
  registry.set(op.name, op);
}

/** Runs the op on tensors. */
export type Op<Attributes> = (inputs: readonly Tensor[], attributes: Attributes) => Tensor;

/** Looks at a tensor's memory differently. */
export type ViewOp<Attributes> = (input: Tensor, attributes: Attributes) => Tensor;

let gradientDepth = 0;
let computesForLater = false;

/** Marks what `body` allocates as gradients in the memory report. */
export function countingAsGradients<Result>(body: () => Result): Result {
  const saved = computesForLater;
  gradientDepth += 1;
  computesForLater = false;
  try {
    return body();
  } finally {
    gradientDepth -= 1;
    computesForLater = saved;
  }
}

/**
 * Marks `body` as a forward pass that a backward pass will need, whether it is recorded now or not: its maps are stored
 * as those of recorded ops are, so that what is computed twice has the same bits.
 */
export function computingForLater<Result>(body: () => Result): Result {
  const saved = computesForLater;
  computesForLater = true;
  try {
    return body();
  } finally {
    computesForLater = saved;
  }
}

/**
 * A tensor of uninitialised memory, for an op that computes every element from `inputs`. A backend that was asked to
 * may store it in half precision if it is a feature map that is kept for the backward pass.
 */
export function allocate(
  backend: Backend,
  dtype: DType,
  shape: Shape,
  inputs: readonly Tensor[] = [],
): Tensor {
  const category = gradientDepth > 0 ? "gradients" : "activations";
  const isKept =
    isMap(shape) &&
    (computesForLater || (gradientDepth === 0 && isGradEnabled() && inputs.some(requiresGrad)));
  return new Tensor(new Storage(backend, dtype, sizeOf(shape), category, isKept), shape);
}

/** Whether it is `[N, C, H, W]` with more than one pixel: what takes the memory of a training step. */
const isMap = (shape: Shape): boolean => shape.length === 4 && (shape[2] > 1 || shape[3] > 1);

const requiresGrad = (tensor: Tensor): boolean => tensor.requiresGrad;

/** The backend that all inputs live on; throws when they differ. */
export function commonBackend(op: string, inputs: readonly Tensor[]): Backend {
  const { backend } = inputs[0];
  for (const input of inputs)
    if (input.backend !== backend)
      throw new Error(
        `${op}: inputs live on backends ${backend.name} and ${input.backend.name}; make them on one, with the backend option of tensor(), zeros(), …`,
      );
  return backend;
}

/** What `record` needs to know of an op. */
export interface Differentiable<Attributes> {
  readonly name: string;
  readonly gradients: readonly (GradientRule<Attributes> | null)[];
}

/**
 * Announces an op that produced `output` and, where a gradient can flow, puts it on the tape.
 * Returns `output`.
 */
export function record<Attributes>(
  op: Differentiable<Attributes>,
  given: readonly Tensor[],
  output: Tensor,
  attributes: Attributes,
): Tensor {
  // A copy: callers go on using their arrays (a dense block pushes to the list that it concatenates).
  const inputs = given.slice();
  if (isGradEnabled() && isFloat(output.dtype) && gradientFlows(op, inputs))
    output.gradFn = new Node(op.name, currentPlace(), new RecordedOp(op, inputs, output, attributes));
  if (hasOpListeners())
    emitOp({ op: op.name, inputs, output, attributes: Object(attributes), modulePath: currentModulePath() });
  return output;
}

/** Defines an op that a kernel computes, and registers it. */
export function defineOp<K extends KernelName>(spec: KernelOpSpec<K>): Op<KernelAttributes[K]> {
  const complete = (inputs: readonly Tensor[], attributes: KernelAttributes[K]): readonly Tensor[] => {
    const { completeInputs } = spec;
    return completeInputs ? noGrad(() => completeInputs(inputs, attributes)) : inputs;
  };
  const execute = (
    inputs: readonly Tensor[],
    attributes: KernelAttributes[K],
    useReference: boolean,
  ): Tensor => {
    const backend = commonBackend(spec.name, inputs);
    const type = spec.infer(inputs, attributes);
    const output = allocate(backend, type.dtype, type.shape, inputs);
    if (useReference) runOnHost(spec, inputs, output, attributes);
    else
      backend.run({
        kernel: spec.name,
        reference: spec.reference,
        inputs,
        output,
        attributes,
      });
    return output;
  };
  const op: Op<KernelAttributes[K]> = (inputs, attributes) => {
    const all = complete(inputs, attributes);
    return record(spec, all, execute(all, attributes, false), attributes);
  };
  const registered = (sample: Sample<KernelAttributes[K]>): RegisteredSample => ({
    ...sample,
    run: (inputs) => op(inputs, sample.attributes),
    runReference: (inputs) => execute(complete(inputs, sample.attributes), sample.attributes, true),
    flops: () => {
      const types = sample.inputs.map(({ shape, dtype = "f64" }) => ({ shape, dtype }));
      return spec.flops(types, spec.infer(types, sample.attributes), sample.attributes);
    },
  });
  register({
    name: spec.name,
    kind: "kernel",
    summary: spec.summary,
    differentiable: spec.gradients.map((rule) => rule !== null),
    samples: () => spec.samples().map(registered),
    draw: (source) => registered(spec.draw(source)),
  });
  return op;
}

/** Runs the reference loop on host copies of the operands. */
function runOnHost<K extends KernelName>(
  spec: KernelOpSpec<K>,
  inputs: readonly Tensor[],
  output: Tensor,
  attributes: KernelAttributes[K],
): void {
  const host = (tensor: Tensor, data = tensor.dataSync()) => {
    const layout = new Tensor(tensor.storage, tensor.shape);
    return { data, dtype: tensor.dtype, shape: tensor.shape, strides: layout.strides, offset: 0 };
  };
  const result = host(output);
  spec.reference(
    inputs.map((input) => host(input)),
    result,
    attributes,
  );
  output.backend.write(output.storage.buffer, result.data);
}

/** Defines an op that gives a new view of its input's memory, and registers it. */
export function defineView<Attributes>(spec: ViewOpSpec<Attributes>): ViewOp<Attributes> {
  const op = (input: Tensor, attributes: Attributes): Tensor => {
    const { shape, strides, offset } = spec.layout(input, attributes);
    return record(spec, [input], new Tensor(input.storage, shape, strides, offset), attributes);
  };
  const registered = (sample: Sample<Attributes>): RegisteredSample => ({
    ...sample,
    run: ([input]) => op(input, sample.attributes),
    runReference: () => null,
    flops: () => 0,
  });
  register({
    name: spec.name,
    kind: "view",
    summary: spec.summary,
    differentiable: spec.gradients.map((rule) => rule !== null),
    samples: () => spec.samples().map(registered),
    draw: (source) => registered(spec.draw(source)),
  });
  return op;
}
