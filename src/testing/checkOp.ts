/** The generic test of an op: everything that must hold for it, over its own samples and over random ones. */
import type { RegisteredOp } from "../autograd/defineOp.ts";
import { defaultBackend } from "../tensor/runtime.ts";
import { factsOf, fixedCase, type OpCase, randomCases } from "./opCases.ts";
import {
  agreesWithReference,
  gradientsAreRight,
  hasCost,
  leavesNothingBehind,
  refusesWrongDtypes,
} from "./opProperties.ts";
import { type Property, type PropertyOptions, propertyError, runProperty } from "./property.ts";

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
