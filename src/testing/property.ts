/** Runs one property over what fast-check draws and, when it fails, says so in a way that a person can act on. */
import fc from "fast-check";

export interface PropertyOptions {
  /** Of everything drawn at random. Default: another one in every run; a failure prints it. */
  readonly seed?: number;
  /** How many random cases each property is tried on. */
  readonly runs?: number;
}

/** Thrown by a property that does not hold; what it was tried on is added by whoever runs it. */
export class Violation extends Error {
  readonly hint: string | undefined;

  constructor(message: string, hint?: string) {
    super(message);
    this.name = "Violation";
    this.hint = hint;
  }
}

/** Thrown by `checkOp` and `checkLayer`, with the smallest counterexample that was found. */
export class PropertyError extends Error {
  /** The property that does not hold. */
  readonly property: string;

  constructor(property: string, message: string, cause: unknown) {
    super(message, { cause });
    this.name = "PropertyError";
    this.property = property;
  }
}

/** Lines of a counterexample: what it is, and its value. */
export type Facts = readonly (readonly [label: string, value: string])[];

export interface Property<Case> {
  /** `checkLayer: ScaleShift` */
  readonly subject: string;
  readonly name: string;
  /** Throws where the property does not hold. */
  test(example: Case): void;
  /** The counterexample in words. */
  describe(example: Case): Facts;
}

/** The error that a failed property ends in. */
export function propertyError<Case>(
  { subject, name, describe }: Property<Case>,
  example: Case,
  error: unknown,
  again: string | null,
): PropertyError {
  const message = error instanceof Error ? error.message : String(error);
  const facts: (readonly [string, string])[] = [...describe(example)];
  if (error instanceof Violation && error.hint) facts.push(["hint", error.hint]);
  if (again) facts.push(["again", again]);
  const width = Math.max(...facts.map(([label]) => label.length));
  const lines = [
    `${subject}: "${name}" does not hold`,
    ...message.split("\n").map((line) => `  ${line}`),
    ...facts.map(([label, value]) => `  ${label.padEnd(width)}  ${value}`),
  ];
  return new PropertyError(name, lines.join("\n"), error);
}

/** Tries `property` on `runs` cases. Throws a `PropertyError` with a case that fast-check could not shrink further. */
export function runProperty<Case>(
  property: Property<Case>,
  cases: fc.Arbitrary<Case>,
  { seed, runs = 20 }: PropertyOptions,
): void {
  const result = fc.check(
    fc.property(cases, (example) => property.test(example)),
    { numRuns: runs, ...(seed === undefined ? {} : { seed }) },
  );
  if (!result.failed) return;
  const [example] = result.counterexample ?? fc.sample(cases, { numRuns: 1, seed: result.seed });
  const again = `{ seed: ${result.seed} } finds it again (run ${result.numRuns}, shrunk ${result.numShrinks} times)`;
  throw propertyError(property, example, result.errorInstance, again);
}
