/** The generic test of an op: everything that must hold for it, over its own samples and over random ones. */
import fc from "fast-check";
import type { RegisteredOp, RegisteredSample } from "../autograd/defineOp.ts";
import { formatShape } from "../tensor/layout.ts";
import { defaultBackend } from "../tensor/runtime.ts";
import { contiguousPlan, drawLayout } from "./layouts.ts";
import {
  agreesWithReference,
  gradientsAreRight,
  hasCost,
  leavesNothingBehind,
  type OpCase,
  refusesWrongDtypes,
} from "./opProperties.ts";
import { type Facts, type Property, type PropertyOptions, propertyError, runProperty } from "./property.ts";
import { choices, sampleSource } from "./sampleSource.ts";

/** The properties by name, in the order in which they are tried. */
const properties: Readonly<Record<string, (example: OpCase) => void>> = {
  "the cost is known": hasCost,
  "f64 agrees with the reference loop": (example) => agreesWithReference(example, "f64"),
  "f32 agrees with the reference loop": (example) => agreesWithReference(example, "f32"),
  "gradients agree with finite differences": gradientsAreRight,
  "nothing is left behind": leavesNothingBehind,
};

/**
 * Checks an op of the registry over its fixed samples, contiguous and strided, and over `runs` (default 20) random
 * ones: values against the reference loop in f64 and f32, on strided inputs and in memory that holds NaN; shape and
 * dtype; inputs unchanged; gradients and gradients of gradients against finite differences; no memory left behind;
 * errors for wrong dtypes that name the op. Throws a `PropertyError` with the smallest failing sample.
 */
export function checkOp(op: RegisteredOp, options: PropertyOptions = {}): void {
  withPoisonedMemory(() => {
    for (const [name, test] of Object.entries(properties)) {
      const property = opProperty(op, name, test);
      op.samples().forEach((sample, i) => {
        for (const strided of [false, true]) tryFixed(property, fixedCase(op, sample, i, strided));
      });
      runProperty(property, randomCases(op), options);
    }
    const dtypes = opProperty(op, "wrong dtypes are refused by name", refusesWrongDtypes);
    op.samples().forEach((sample, i) => {
      tryFixed(dtypes, fixedCase(op, sample, i, false));
    });
  });
}

function opProperty(op: RegisteredOp, name: string, test: (example: OpCase) => void): Property<OpCase> {
  return { subject: `checkOp: ${op.name}`, name, test, describe: factsOf };
}

function tryFixed(property: Property<OpCase>, example: OpCase): void {
  try {
    property.test(example);
  } catch (error) {
    throw propertyError(property, example, error, null);
  }
}

/** The op's own sample; strided ones have gaps on all sides and their axes reversed in memory. */
function fixedCase(op: RegisteredOp, sample: RegisteredSample, seed: number, strided: boolean): OpCase {
  const layouts = sample.inputs.map(({ shape }) => {
    const plain = contiguousPlan(shape.length);
    const ones = shape.map(() => 1);
    return strided ? { ...plain, order: [...plain.order].reverse(), before: ones, after: ones } : plain;
  });
  return { op, sample, seed, layouts };
}

function randomCases(op: RegisteredOp): fc.Arbitrary<OpCase> {
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

function factsOf({ sample, seed, layouts }: OpCase): Facts {
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

/** Freed memory is filled with NaN meanwhile, where the backend can. */
function withPoisonedMemory(body: () => void): void {
  const backend = defaultBackend();
  if (!canPoison(backend)) {
    body();
    return;
  }
  const saved = backend.poison;
  backend.poison = true;
  try {
    body();
  } finally {
    backend.poison = saved;
  }
}

function canPoison(backend: object): backend is { poison: boolean } {
  return "poison" in backend && typeof backend.poison === "boolean";
}
