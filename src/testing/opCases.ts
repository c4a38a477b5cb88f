/** Samples of ops with values and layouts: what the generic tests try an op on. */
import fc from "fast-check";
import type { RegisteredOp, RegisteredSample } from "../autograd/defineOp.ts";
import type { Backend } from "../backends/backend.ts";
import { formatShape } from "../tensor/layout.ts";
import { defaultBackend } from "../tensor/runtime.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { contiguousPlan, drawLayout, type LayoutPlan, placeValues } from "./layouts.ts";
import type { Facts } from "./property.ts";
import { choices, sampleSource } from "./sampleSource.ts";
import { drawValues } from "./values.ts";

/** A sample with everything that is random about it. */
export interface OpCase {
  readonly op: RegisteredOp;
  readonly sample: RegisteredSample;
  /** Of the values. */
  readonly seed: number;
  /** One per input. */
  readonly layouts: readonly LayoutPlan[];
}

export type FloatType = "f32" | "f64";

/** The sample's inputs; `dtype` is that of inputs which state none. */
export function inputsOf(
  { sample, seed, layouts }: OpCase,
  dtype: FloatType,
  backend: Backend = defaultBackend(),
): Tensor[] {
  const values = drawValues(sample.inputs, dtype, seed);
  return sample.inputs.map((input, i) =>
    placeValues(values[i], input.shape, input.dtype ?? dtype, layouts[i], backend),
  );
}

/** Runs the op; null when it is a view that this layout does not have, which is for its caller to copy. */
export function runCase({ op, sample }: OpCase, inputs: readonly Tensor[]): Tensor | null {
  try {
    return sample.run(inputs);
  } catch (error) {
    if (op.kind === "view" && error instanceof Error && error.message.includes("contiguous copy"))
      return null;
    throw error;
  }
}

/** The inputs of the sample that a gradient flows to. */
export function differentiableInputs({ op, sample }: OpCase): number[] {
  return sample.inputs.flatMap(({ dtype = "f64" }, i) => {
    const flows = op.differentiable[Math.min(i, op.differentiable.length - 1)] ?? false;
    return flows && dtype === "f64" ? [i] : [];
  });
}

/** The op's own sample; strided ones have gaps on all sides and their axes reversed in memory. */
export function fixedCase(
  op: RegisteredOp,
  sample: RegisteredSample,
  seed: number,
  strided: boolean,
): OpCase {
  const layouts = sample.inputs.map(({ shape }) => {
    const plain = contiguousPlan(shape.length);
    const ones = shape.map(() => 1);
    return strided ? { ...plain, order: [...plain.order].reverse(), before: ones, after: ones } : plain;
  });
  return { op, sample, seed, layouts };
}

/** Random samples of the op, in random layouts. */
export function randomCases(op: RegisteredOp): fc.Arbitrary<OpCase> {
  return fc.tuple(choices(), choices(), fc.nat(9999)).map(([sizes, places, seed]) => {
    const sample = op.draw(sampleSource(sizes));
    const source = sampleSource(places);
    // Repeated values are not distinct, and a maximum among equals has no gradient to compare.
    const layouts = sample.inputs.map(({ shape, domain }) =>
      drawLayout(source, shape.length, domain?.kind !== "distinct"),
    );
    return { op, sample, seed, layouts };
  });
}

/** The case in words. */
export function factsOf({ sample, seed, layouts }: OpCase): Facts {
  return [
    ...sample.inputs.map(({ shape, dtype, domain }, i): [string, string] => {
      const { order, before, after, repeated } = layouts[i];
      const kind = dtype ?? domain?.kind ?? "real";
      const plain =
        order.every((axis, at) => axis === at) &&
        [...before, ...after].every((n) => n === 0) &&
        !repeated.includes(true);
      const place = plain
        ? "contiguous"
        : `axes in memory ${formatShape(order)}, gaps ${formatShape(before)} ${formatShape(after)}, repeated axes ${formatShape(repeated.flatMap((yes, axis) => (yes ? [axis] : [])))}`;
      return [`input ${i}`, `${formatShape(shape)} ${kind}, ${place}`];
    }),
    ["attributes", shortened(JSON.stringify(sample.attributes))],
    ["values", `seed ${seed}`],
  ];
}

const shortened = (text: string): string => (text.length > 160 ? `${text.slice(0, 160)} …` : text);
