/**
 * The pointwise family: one expression per op, from which every backend prints its loop and the gradient is
 * derived, to any order. An activation function costs one entry in `activations.ts`.
 */
import type { HostKernel } from "../../backends/backend.ts";
import { type DType, isFloat } from "../../backends/dtype.ts";
import {
  differentiate,
  type Expression,
  evaluate,
  input,
  inputCount,
  mul,
  remapInputs,
  usedInputs,
} from "../../backends/expression.ts";
import { scalarLike } from "../../tensor/create.ts";
import {
  broadcastLayout,
  broadcastShapes,
  broadcastViews,
  commonShape,
  sizeOf,
} from "../../tensor/layout.ts";
import { Tensor } from "../../tensor/tensor.ts";
import {
  allocate,
  commonBackend,
  type Domain,
  type GradientRule,
  type RegisteredSample,
  record,
  register,
  type Sample,
  type SampleInput,
  type TensorType,
} from "../defineOp.ts";
import { dot, forEachIndex } from "./indexing.ts";
import { sumTo } from "./sum.ts";

declare module "../../backends/backend.ts" {
  interface KernelAttributes {
    pointwise: PointwiseAttributes;
  }
}

export interface PointwiseAttributes {
  readonly expression: Expression;
  /** The run-time numbers that `parameter(i)` stands for. */
  readonly parameters: readonly number[];
}

/** Interprets the expression for each element. */
export const referencePointwise: HostKernel<PointwiseAttributes> = (
  inputs,
  output,
  { expression, parameters },
) => {
  forEachIndex(output.shape, (index) => {
    const values = inputs.map((x) => x.data[x.offset + dot(index, x.strides)]);
    output.data[output.offset + dot(index, output.strides)] = evaluate(expression, values, parameters);
  });
};

/** Which dtypes an op takes: f32 and f64; those and the integers; or booleans too. */
type Accepts = "float" | "number" | "any";

export interface PointwiseSpec {
  readonly name: string;
  readonly summary: string;
  readonly expression: Expression;
  /** Default "float". */
  readonly accepts?: Accepts;
  /** The first input is a boolean condition, whatever the dtype of the others. */
  readonly condition?: boolean;
  /** Dtype of the output when it is not the inputs'. */
  readonly result?: DType;
  /** Where each input may lie in tests; the last serves all further inputs. Default: any real number. */
  readonly domains?: readonly Domain[];
  /** Sets of run-time numbers to test with. Default: one empty set. */
  readonly parameters?: readonly (readonly number[])[];
}

/** Runs a pointwise op; inputs broadcast. */
export type PointwiseOp = (inputs: readonly Tensor[], parameters?: readonly number[]) => Tensor;

function checkDtypes(spec: PointwiseSpec, inputs: readonly TensorType[]): DType {
  const operands = spec.condition ? inputs.slice(1) : inputs;
  const { dtype } = operands[0];
  if (spec.condition && inputs[0].dtype !== "bool")
    throw new Error(
      `${spec.name}: the condition is ${inputs[0].dtype}, not bool; compare it with notEqual(0) first`,
    );
  for (const operand of operands)
    if (operand.dtype !== dtype)
      throw new Error(
        `${spec.name}: inputs are ${operands.map((x) => x.dtype).join(" and ")}; bring them to one dtype with to(dtype)`,
      );
  const accepts = spec.accepts ?? "float";
  if ((accepts === "float" && !isFloat(dtype)) || (accepts === "number" && dtype === "bool"))
    throw new Error(
      `${spec.name}: takes ${accepts === "float" ? "f32 and f64" : "numbers"}, not ${dtype}; convert with to("f32")`,
    );
  return spec.result ?? dtype;
}

/** An op from its expression, without an entry in the registry: gradients of entries are made so. */
function pointwiseOp(spec: PointwiseSpec): {
  op: PointwiseOp;
  gradients: GradientRule<PointwiseAttributes>[];
} {
  const { expression } = spec;
  const count = inputCount(expression);
  const gradients = Array.from({ length: count }, (_, index) => gradientRule(spec, index));
  const differentiable = { name: spec.name, gradients };
  const op: PointwiseOp = (inputs, parameters = []) => {
    const dtype = checkDtypes(spec, inputs);
    const shape = commonShape(spec.name, inputs);
    const backend = commonBackend(spec.name, inputs);
    const output = allocate(backend, dtype, shape, inputs);
    const attributes: PointwiseAttributes = { expression, parameters };
    launch(spec.name, attributes, inputs, output);
    return record(differentiable, inputs, output, attributes);
  };
  return { op, gradients };
}

function launch(
  name: string,
  attributes: PointwiseAttributes,
  inputs: readonly Tensor[],
  output: Tensor,
): void {
  const { backend } = output;
  backend.run({
    kernel: "pointwise",
    reference: referencePointwise,
    inputs: broadcastViews(name, inputs, output.shape),
    output,
    attributes,
  });
}

/** gradient * ∂expression/∂input, as a pointwise op of the inputs it still needs; compiled on first use. */
function gradientRule(spec: PointwiseSpec, index: number): GradientRule<PointwiseAttributes> {
  const derivative = spec.result === "bool" ? null : differentiate(spec.expression, index);
  if (!derivative) return () => null;
  const used = usedInputs(derivative);
  let op: PointwiseOp | null = null;
  return ({ gradient, input: read, inputs, attributes }) => {
    if (derivative.kind === "constant" && derivative.value === 1) return sumTo(gradient, inputs[index].shape);
    op ??= pointwiseOp({
      name: `${spec.name}Gradient`,
      summary: "",
      expression: mul(input(used.length), remapInputs(derivative, used)),
      condition: (spec.condition ?? false) && used[0] === 0,
    }).op;
    return sumTo(op([...used.map((i) => read(i)), gradient], attributes.parameters), inputs[index].shape);
  };
}

const fixedShapes: readonly (readonly number[])[] = [[2, 3], [1], [], [0, 4], [3, 1, 5]];

/** Defines a pointwise op and registers it. */
export function definePointwise(spec: PointwiseSpec): PointwiseOp {
  const { op, gradients } = pointwiseOp(spec);
  const count = gradients.length;
  const parameterSets = spec.parameters ?? [[]];
  const inputOf = (shape: readonly number[], index: number): SampleInput => {
    const domains = spec.domains ?? [{ kind: "real" }];
    const domain = domains[Math.min(index, domains.length - 1)];
    return spec.condition && index === 0 ? { shape, dtype: "bool" } : { shape, domain };
  };
  const sample = (
    shapes: readonly (readonly number[])[],
    parameters: readonly number[],
  ): RegisteredSample => {
    const plain: Sample<PointwiseAttributes> = {
      inputs: shapes.map(inputOf),
      attributes: { expression: spec.expression, parameters },
    };
    return {
      ...plain,
      run: (inputs) => op(inputs, parameters),
      runReference: (inputs) => runReference(spec, plain.attributes, inputs),
      flops: () => sizeOf(broadcastShapes(spec.name, ...shapes)),
    };
  };
  const same = (shape: readonly number[]) => Array.from({ length: count }, () => shape);
  register({
    name: spec.name,
    kind: "kernel",
    summary: spec.summary,
    differentiable: gradients.map(
      (_, i) => spec.result !== "bool" && differentiate(spec.expression, i) !== null,
    ),
    samples: () => [
      ...parameterSets.flatMap((parameters) => fixedShapes.map((shape) => sample(same(shape), parameters))),
      ...(count > 1
        ? [
            sample(
              same([2, 3]).map((shape, i) => (i % 2 ? [1, 3] : shape)),
              parameterSets[0],
            ),
          ]
        : []),
    ],
    draw(source) {
      const shape = source.shape(0, 4);
      const shapes = same(shape).map((full) =>
        full.map((extent) => (source.integer(0, 3) === 0 ? 1 : extent)),
      );
      return sample(shapes, source.pick(parameterSets));
    },
  });
  return op;
}

function runReference(
  spec: PointwiseSpec,
  attributes: PointwiseAttributes,
  inputs: readonly Tensor[],
): Tensor {
  const shape = broadcastShapes(spec.name, ...inputs.map((x) => x.shape));
  const output = allocate(inputs[0].backend, checkDtypes(spec, inputs), shape);
  const result = { data: output.dataSync(), dtype: output.dtype, shape, strides: output.strides, offset: 0 };
  const views = inputs.map((x) => {
    const plain = new Tensor(x.storage, x.shape);
    return { data: x.dataSync(), dtype: x.dtype, ...broadcastLayout(spec.name, plain, shape) };
  });
  referencePointwise(views, result, attributes);
  output.backend.write(output.storage.buffer, result.data);
  return output;
}

/** What arithmetic accepts beside a tensor. */
export type Operand = Tensor | number;

/** Brings two operands, at most one of them a number, to tensors. */
export function operands(name: string, a: Operand, b: Operand): [Tensor, Tensor] {
  if (typeof a !== "number") return [a, typeof b === "number" ? numberLike(name, b, a) : b];
  if (typeof b !== "number") return [numberLike(name, a, b), b];
  throw new Error(`${name}: both operands are numbers; at least one must be a tensor`);
}

/** A number as a scalar tensor of the other operand's dtype. Throws when that dtype cannot hold it. */
function numberLike(name: string, value: number, like: Tensor): Tensor {
  if (!isFloat(like.dtype) && !Number.isInteger(value))
    throw new Error(
      `${name}: ${value} is no integer and the tensor is ${like.dtype}; convert it with to("f32")`,
    );
  return scalarLike(value, like);
}
