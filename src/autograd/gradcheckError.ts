/**
 * What a failed gradient check says. A wrong gradient usually is wrong in a way that names its cause: every element
 * off by one factor, the right numbers in the wrong places, nothing at all. The message looks for these first.
 */
import { formatShape, type Shape } from "../tensor/layout.ts";

/** One element whose gradient by `backward` and by finite differences differ. */
export interface GradientMismatch {
  /** Position in the list of inputs that were checked, and its name. */
  readonly input: number;
  readonly name: string;
  readonly index: readonly number[];
  /** What the gradient rules give. */
  readonly analytic: number;
  /** What central differences give. */
  readonly numeric: number;
  readonly error: number;
  /** The largest error that would have passed. */
  readonly allowed: number;
  /** The slopes to the left and the right differ: the function has a kink here, or a jump. */
  readonly kink: boolean;
}

/** All gradients of one input, element by element in row-major order. */
export interface ComparedInput {
  readonly name: string;
  readonly shape: Shape;
  readonly analytic: ArrayLike<number>;
  readonly numeric: ArrayLike<number>;
  readonly mismatches: readonly GradientMismatch[];
}

/** How many wrong elements a message lists. */
const shownElements = 3;

/** Thrown by the gradient checks; `mismatches` holds every wrong element. */
export class GradcheckError extends Error {
  readonly mismatches: readonly GradientMismatch[];

  constructor(message: string, mismatches: readonly GradientMismatch[] = []) {
    super(message);
    this.name = "GradcheckError";
    this.mismatches = mismatches;
  }

  /** The message for the first wrong input, at most seven lines. */
  static of(check: string, inputs: readonly ComparedInput[]): GradcheckError {
    const wrong = inputs.filter((input) => input.mismatches.length > 0);
    const [first] = wrong;
    const { name, shape, mismatches } = first;
    const lines = [
      `${check}: the gradient of ${name} ${formatShape(shape)} is wrong at ${mismatches.length} of ${first.analytic.length} elements`,
      ...mismatches.slice(0, shownElements).map(describe),
    ];
    if (mismatches.length > shownElements) lines.push(`  … ${mismatches.length - shownElements} more`);
    if (wrong.length > 1)
      lines.push(
        `  also wrong: ${wrong
          .slice(1)
          .map((input) => input.name)
          .join(", ")}`,
      );
    const hint = guess(first);
    if (hint) lines.push(`  hint: ${hint}`);
    return new GradcheckError(
      lines.join("\n"),
      wrong.flatMap((input) => input.mismatches),
    );
  }
}

function describe({ index, analytic, numeric, error, allowed }: GradientMismatch): string {
  return (
    `  at ${formatShape(index)}: gradient ${formatNumber(analytic)}, finite differences ${formatNumber(numeric)}, ` +
    `error ${error.toExponential(1)} (allowed ${allowed.toExponential(1)})`
  );
}

/** Five significant digits. */
export function formatNumber(value: number): string {
  return Number.isFinite(value) ? String(Number(value.toPrecision(5))) : String(value);
}

function guess({ analytic, numeric, mismatches }: ComparedInput): string | null {
  if (mismatches.some((one) => !Number.isFinite(one.analytic)))
    return "the gradient is not finite; look for a division by zero or a logarithm of zero in its rule";
  if (mismatches.every((one) => one.kink))
    return "the slopes left and right of these values differ: the function has a kink or a jump there; move the values away from it";
  const [a, n] = [Array.from(analytic), Array.from(numeric)];
  const scale = Math.max(...a.map(Math.abs), ...n.map(Math.abs));
  const near = (x: number, y: number) => Math.abs(x - y) <= 1e-4 * scale;
  if (a.every((value) => value === 0)) return "no gradient arrives; is the input detached, or its rule null?";
  const factor = dot(a, n) / dot(n, n);
  if (a.every((value, i) => near(value, factor * n[i])))
    return `the gradient is ${formatNumber(factor)} times the right one everywhere`;
  const offset = a[0] - n[0];
  if (a.length > 1 && a.every((value, i) => near(value - n[i], offset)))
    return `the gradient is off by ${formatNumber(offset)} everywhere; is a term missing?`;
  const [sortedA, sortedN] = [a, n].map((values) => [...values].sort((x, y) => x - y));
  if (sortedA.every((value, i) => near(value, sortedN[i])))
    return "the right numbers are in the wrong places; is something transposed?";
  return null;
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, i) => sum + value * b[i], 0);
}
