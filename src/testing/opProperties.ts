/** What must hold for every sample of every op; `checkOp` runs them. */
import { registeredOps } from "../autograd/defineOp.ts";
import { backward } from "../autograd/engine.ts";
import { gradcheck, gradgradcheck } from "../autograd/gradcheck.ts";
import { gradcheckDirections } from "../autograd/gradcheckDirections.ts";
import { noGrad } from "../autograd/mode.ts";
import { type DType, isFloat, type TypedArray } from "../backends/dtype.ts";
import { formatShape, sameShape } from "../tensor/layout.ts";
import { memoryReport } from "../tensor/runtime.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { contiguousPlan, placeValues, wholeMemory } from "./layouts.ts";
import { differentiableInputs, type FloatType, inputsOf, type OpCase, runCase } from "./opCases.ts";
import { Violation } from "./property.ts";

/** More elements than this are checked along random directions, not one by one. */
const elementwiseLimit = { first: 400, second: 60 };

/** The same values, contiguous, floats as f64 and mapped. */
function inF64(inputs: readonly Tensor[], map: (value: number) => number = (value) => value): Tensor[] {
  return inputs.map((x) => {
    const dtype = isFloat(x.dtype) ? "f64" : x.dtype;
    const values = isFloat(x.dtype) ? Float64Array.from(x.dataSync(), map) : x.dataSync();
    return placeValues(values, x.shape, dtype, contiguousPlan(x.rank));
  });
}

/**
 * The op agrees with its reference loop in f64, on the same values: to the last bits for f64, and for f32 to within
 * the rounding of as many operations as it does per output element. Runs twice, so that the second output lies in
 * memory that the first left behind.
 */
export function agreesWithReference(example: OpCase, dtype: FloatType): void {
  const { op, sample } = example;
  noGrad(() =>
    scope(() => {
      const inputs = inputsOf(example, dtype);
      const memory = inputs.map(wholeMemory);
      const first = scope(() => runCase(example, inputs)?.dataSync());
      const output = runCase(example, inputs);
      if (!first || !output) return;
      inputs.forEach((x, i) => {
        if (!sameBits(memory[i], wholeMemory(x))) throw new Violation(`input ${i} was changed by the op`);
      });
      const found = output.dataSync();
      if (op.kind === "kernel" && !sameBits(first, found))
        throw new Violation(
          `running it twice gave different values, ${firstDifference(first, found)}`,
          "a kernel must write every element of its output, whose memory is not cleared",
        );
      const reference = (given: readonly Tensor[]) => sample.runReference(given) ?? sample.run(given);
      const expected = reference(inF64(inputs));
      const sameType = reference(
        inputs.map((x) => placeValues(x.dataSync(), x.shape, x.dtype, contiguousPlan(x.rank))),
      );
      if (!sameShape(output.shape, expected.shape) || output.dtype !== sameType.dtype)
        throw new Violation(
          `the output is ${formatShape(output.shape)} ${output.dtype}, the shape rule says ${formatShape(expected.shape)} ${sameType.dtype}`,
        );
      const sizes = reference(inF64(inputs, Math.abs)).dataSync();
      compareValues(output, found, expected.dataSync(), sizes, sample.flops());
    }),
  );
}

function compareValues(
  { dtype, shape }: Tensor,
  found: TypedArray,
  expected: TypedArray,
  sizes: TypedArray,
  flops: number,
): void {
  const rounding = dtype === "f32" ? 2 ** -23 : 2 ** -52;
  const operations = flops / Math.max(1, found.length) + 16;
  found.forEach((value, i) => {
    // What the op gives for absolute values bounds the terms of a sum that cancel.
    const size = Math.max(1, Math.abs(expected[i]), Number.isFinite(sizes[i]) ? Math.abs(sizes[i]) : 0);
    const allowed = isFloat(dtype) ? rounding * operations * size : 0;
    if (Object.is(value, expected[i]) || Math.abs(value - expected[i]) <= allowed) return;
    throw new Violation(
      `element ${i} of the output ${formatShape(shape)} ${dtype} is ${value}, the reference loop gives ${expected[i]} ` +
        `(allowed difference ${allowed.toExponential(1)})`,
      Number.isNaN(value) ? "NaN lies in unwritten memory and outside of the inputs' views" : undefined,
    );
  });
}

/** Gradients and their gradients agree with finite differences in f64, and free what they allocate. */
export function gradientsAreRight(example: OpCase): void {
  const { op, sample } = example;
  const inputs = inputsOf(example, "f64");
  const withRespectTo = differentiableInputs(example);
  const probe = scope(() => runCase(example, inputs)?.dtype ?? null);
  if (probe !== "f64" || withRespectTo.length === 0) return;
  const fn = (...given: Tensor[]) => sample.run(given);
  const moved = withRespectTo.reduce((sum, i) => sum + inputs[i].size, 0);
  const options = { withRespectTo, names: inputs.map((_, i) => `input ${i} of ${op.name}`) };
  if (moved <= elementwiseLimit.first) gradcheck(fn, inputs, options);
  else gradcheckDirections(fn, inputs, options);
  if (moved <= elementwiseLimit.second) gradgradcheck(fn, inputs, options);
  else gradcheckDirections(fn, inputs, { ...options, order: 2 });
}

/** A forward and backward pass in a scope leaves no bytes behind beyond the gradients of the leaves. */
export function leavesNothingBehind(example: OpCase): void {
  const inputs = inputsOf(example, "f64");
  for (const i of differentiableInputs(example)) inputs[i].requiresGrad = true;
  const step = () =>
    scope(() => {
      const output = runCase(example, inputs);
      if (output?.requiresGrad) backward(output, inF64([output])[0]);
    });
  // The first step allocates the leaves' gradients.
  step();
  const before = memoryReport();
  step();
  const after = memoryReport();
  if (after.liveBytes > before.liveBytes || after.liveBuffers > before.liveBuffers)
    throw new Violation(
      `a forward and backward pass left ${after.liveBuffers - before.liveBuffers} buffers, ` +
        `${after.liveBytes - before.liveBytes} bytes, behind`,
    );
  for (const x of inputs) x.grad?.dispose();
}

/** A dtype that the op does not take, in one input or in all, is an error that names the op. */
export function refusesWrongDtypes(example: OpCase): void {
  const { op, sample } = example;
  const unstated = sample.inputs.flatMap(({ dtype }, i) => (dtype === undefined ? [i] : []));
  const tryWith = (dtypeOf: (input: number) => DType, mustFail: boolean): void =>
    noGrad(() =>
      scope(() => {
        const inputs = inputsOf(example, "f64").map((x, i) => {
          const dtype = unstated.includes(i) ? dtypeOf(i) : x.dtype;
          return placeValues(
            Float64Array.from(x.dataSync(), Math.round),
            x.shape,
            dtype,
            contiguousPlan(x.rank),
          );
        });
        const dtypes = inputs.map((x) => x.dtype).join(", ");
        try {
          sample.run(inputs);
        } catch (error) {
          // An op that runs others first may be refused by one of these.
          if (
            error instanceof Error &&
            [op.name, ...registeredOps().keys()].includes(error.message.split(":")[0])
          )
            return;
          throw new Violation(
            `for inputs of dtypes ${dtypes} it throws "${error instanceof Error ? error.message : error}", which does not begin with the name of an op`,
          );
        }
        if (mustFail)
          throw new Violation(
            `it accepts inputs of dtypes ${dtypes}`,
            "the shape rule must refuse inputs whose dtypes differ, and dtypes that the op does not compute in",
          );
      }),
    );
  for (const dtype of ["bool", "i32"] as const) tryWith(() => dtype, false);
  if (unstated.length > 1)
    for (const odd of unstated)
      for (const dtype of ["bool", "i32", "f32"] as const) tryWith((i) => (i === odd ? dtype : "f64"), true);
}

/** The cost is a number that is not negative. */
export function hasCost({ sample }: OpCase): void {
  const flops = sample.flops();
  if (!(flops >= 0 && Number.isFinite(flops))) throw new Violation(`flops() gives ${flops}`);
}

function sameBits(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  return firstDifferenceAt(a, b) === -1;
}

function firstDifferenceAt(a: ArrayLike<number>, b: ArrayLike<number>): number {
  for (let i = 0; i < Math.max(a.length, b.length); i++) if (!Object.is(a[i], b[i])) return i;
  return -1;
}

function firstDifference(a: ArrayLike<number>, b: ArrayLike<number>): string {
  const i = firstDifferenceAt(a, b);
  return `${a[i]} and ${b[i]} at element ${i}`;
}
