/**
 * The samples of every op on a device: values and gradients over fixed samples and random ones, in all layouts, in f32
 * against the reference loops in f64 on the same values. What must hold is gathered first, and read from the device
 * afterwards.
 */
import fc from "fast-check";
import type { RegisteredOp } from "../../src/autograd/defineOp.ts";
import { backward } from "../../src/autograd/engine.ts";
import { noGrad } from "../../src/autograd/mode.ts";
import type { Backend } from "../../src/backends/backend.ts";
import { isFloat } from "../../src/backends/dtype.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { contiguousPlan, placeValues } from "../../src/testing/layouts.ts";
import {
  differentiableInputs,
  factsOf,
  fixedCase,
  type OpCase,
  randomCases,
  runCase,
} from "../../src/testing/opCases.ts";
import { drawValues } from "../../src/testing/values.ts";

/** Of the random samples; another one in every run, and part of every message. */
const seed = Math.floor(Math.random() * 2 ** 31);
const runs = 10;

/** Something on the device, and what it must be. */
export interface Claim {
  readonly what: string;
  readonly example: OpCase;
  readonly found: Tensor;
  readonly expected: Tensor;
  /** What the op gives for absolute values: the size of terms that cancel. */
  readonly sizes: ArrayLike<number>;
  readonly operations: number;
}

/** Relative error of the device's elementary functions (exp and pow 4e-6), a few of which follow each other. */
const functionError = 1e-5;

/** Fixed and random samples of an op. */
export function casesOf(op: RegisteredOp): OpCase[] {
  const fixed = op
    .samples()
    .flatMap((sample, i) => [false, true].map((strided) => fixedCase(op, sample, i, strided)));
  return [...fixed, ...fc.sample(randomCases(op), { numRuns: runs, seed })];
}

/**
 * Runs one case on the device and on the CPU; what is read from the device later is returned as claims. `rounded` is
 * applied to the values first: what the device's memory makes of them.
 */
export function claimsOf(
  example: OpCase,
  device: Backend,
  rounded: (values: ArrayLike<number>) => ArrayLike<number> = (values) => values,
): Claim[] {
  const { sample, layouts } = example;
  const drawn = drawValues(sample.inputs, "f32", example.seed).map((list) => Array.from(rounded(list)));
  // As they end up in memory: rounded to f32, and repeated where the layout repeats them.
  const values = sample.inputs.map(({ shape, dtype = "f32" }, i) =>
    Array.from(placeValues(drawn[i], shape, dtype, layouts[i]).dataSync()),
  );
  const onHost = (map: (value: number) => number = (value) => value) =>
    sample.inputs.map(({ shape, dtype = "f64" }, i) =>
      placeValues(values[i].map(map), shape, dtype, contiguousPlan(shape.length)),
    );
  const inputs = sample.inputs.map(({ shape, dtype = "f32" }, i) =>
    placeValues(drawn[i], shape, dtype, layouts[i], device),
  );
  const mirrored = onHost();
  const reference = (given: readonly Tensor[]) =>
    noGrad(() => sample.runReference(given) ?? sample.run(given));
  const expected = reference(mirrored);
  const flows = isFloat(expected.dtype) ? differentiableInputs(example) : [];
  for (const i of flows) {
    inputs[i].requiresGrad = true;
    mirrored[i].requiresGrad = true;
  }
  const found = runCase(example, inputs);
  if (!found) return [];
  const operations = sample.flops() / Math.max(1, found.size) + 16;
  const claims: Claim[] = [
    {
      what: "the output",
      example,
      found,
      expected,
      sizes: reference(onHost(Math.abs)).dataSync(),
      operations,
    },
  ];
  if (!found.requiresGrad) return claims;
  const [upstream] = drawValues([{ shape: found.shape }], "f32", example.seed + 1).map((list) =>
    Array.from(rounded(Float32Array.from(list))),
  );
  const plan = contiguousPlan(found.rank);
  backward(found, placeValues(upstream, found.shape, "f32", plan, device));
  backward(sample.run(mirrored), placeValues(upstream, found.shape, "f64", plan));
  for (const i of flows) {
    const [own, host] = [inputs[i].grad, mirrored[i].grad];
    if (!own || !host) throw new Error(`no gradient of input ${i} of ${example.op.name}`);
    const largest = Math.max(1, ...Array.from(host.dataSync(), Math.abs));
    claims.push({
      what: `the gradient of input ${i}`,
      example,
      found: own,
      expected: host,
      sizes: new Float64Array(host.size).fill(largest),
      operations: (sample.flops() * 3) / Math.max(1, host.size) + 64,
    });
  }
  return claims;
}

const integers = ["i32", "u8", "bool"] as const;

/** The same with integers wherever the op takes them: none of them may be off by one. */
export function integerClaimsOf(example: OpCase, device: Backend): Claim[] {
  const { sample, layouts, seed: valueSeed } = example;
  return integers.flatMap((dtype) => {
    const types = sample.inputs.map((given) => ({ ...given, dtype: given.dtype ?? dtype }));
    const drawn = drawValues(types, "f32", valueSeed);
    const place = (backend?: Backend) =>
      types.map((type, i) => placeValues(drawn[i], type.shape, type.dtype, layouts[i], backend));
    const expected = integerResult(example, place());
    if (!expected) return [];
    const found = runCase(example, place(device));
    if (!found) return [];
    const what = `the output for ${dtype}`;
    return [{ what, example, found, expected, sizes: expected.dataSync(), operations: 0 }];
  });
}

/** Null where the op takes no integers. */
function integerResult(example: OpCase, inputs: readonly Tensor[]): Tensor | null {
  try {
    return runCase(example, inputs);
  } catch (error) {
    if (error instanceof Error && /takes|must be|not bool|inputs are/.test(error.message)) return null;
    throw error;
  }
}

/** What is wrong with a claim, in words. `rounding`: of the device's memory, relative to a result's size. */
export async function complaintsOf(claim: Claim, rounding = 0): Promise<string[]> {
  const { what, example, found, expected, sizes, operations } = claim;
  const where = () => JSON.stringify({ op: example.op.name, facts: factsOf(example), seed });
  if (found.shape.join() !== expected.shape.join())
    return [`${what} is [${found.shape}], not [${expected.shape}]: ${where()}`];
  const [own, host] = [await found.data(), expected.dataSync()];
  for (let i = 0; i < host.length; i++) {
    const size = Math.max(1, Math.abs(host[i]), Number.isFinite(sizes[i]) ? Math.abs(sizes[i]) : 0);
    const allowed = isFloat(found.dtype) ? (2 ** -23 * operations + functionError + rounding) * size : 0;
    if (!(Object.is(own[i], host[i]) || Math.abs(own[i] - host[i]) <= allowed))
      return [
        `${what}: element ${i} is ${own[i]}, not ${host[i]} (allowed ${allowed.toExponential(1)}): ${where()}`,
      ];
  }
  return [];
}
