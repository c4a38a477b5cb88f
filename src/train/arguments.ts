/** Checked values of command-line options: parsers for commander, whose errors name option, value and remedy. */
import { access, constants, mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { InvalidArgumentError } from "commander";
import { UsageError } from "./exitCodes.ts";

const wholeNumberText = /^[+-]?\d+$/;
const decimalText = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** Bounds of a number, and an example for the error message. */
export interface NumberRange {
  /** The least that is allowed. */
  readonly least?: number;
  /** The number must be larger than this. */
  readonly above?: number;
  /** The largest that is allowed. */
  readonly most?: number;
  /** The number must be smaller than this. */
  readonly below?: number;
  readonly example: number;
}

function describeRange({ least, above, most, below }: NumberRange): string {
  const parts = [
    least === undefined ? "" : `at least ${least}`,
    above === undefined ? "" : `above ${above}`,
    most === undefined ? "" : `at most ${most}`,
    below === undefined ? "" : `below ${below}`,
  ];
  return parts.filter((part) => part !== "").join(" and ");
}

function parseNumber(text: string, form: RegExp, kind: string, range: NumberRange): number {
  const value = form.test(text.trim()) ? Number(text) : Number.NaN;
  const { least = -Infinity, above = -Infinity, most = Infinity, below = Infinity } = range;
  const fits = Number.isFinite(value) && value >= least && value > above && value <= most && value < below;
  if (!fits || (form === wholeNumberText && !Number.isSafeInteger(value)))
    throw new InvalidArgumentError(`Give a ${kind} ${describeRange(range)}, such as ${range.example}.`);
  return value;
}

/** A parser of whole numbers in a range. */
export function wholeNumber(range: NumberRange): (text: string) => number {
  return (text) => parseNumber(text, wholeNumberText, "whole number", range);
}

/** A parser of decimal numbers in a range. */
export function decimalNumber(range: NumberRange): (text: string) => number {
  return (text) => parseNumber(text, decimalText, "number", range);
}

/** A parser of whole numbers separated by commas, at least one. */
export function wholeNumbers(range: NumberRange): (text: string) => number[] {
  return (text) => {
    try {
      return text.split(",").map(wholeNumber(range));
    } catch {
      throw new InvalidArgumentError(
        `Give whole numbers ${describeRange(range)}, separated by commas, such as ${range.example},${range.example}.`,
      );
    }
  };
}

/** Throws a UsageError when the value of `option` is more than `most`, which is how many of `what` there are. */
export function checkAtMost(option: string, value: number, most: number, what: string): void {
  if (value > most)
    throw new UsageError(`${option} ${value}: there are ${most} ${what}; give at most so many`);
}

const codeOf = (error: unknown): string =>
  error instanceof Error && "code" in error ? String(error.code) : String(error);

const isFolder = async (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );

/**
 * Creates a folder and those above it. Not by mkdir's own `recursive`, which never returns where a folder refuses
 * to hold another (Node 20 under /proc).
 */
async function createFolder(path: string): Promise<void> {
  if (await isFolder(path)) return;
  const parent = dirname(path);
  if (parent !== path && !(await isFolder(parent))) await createFolder(parent);
  await mkdir(path);
}

/**
 * Makes sure that results can be written into the folder an option names, before the work that leads to them: creates
 * it if need be. Throws a UsageError.
 */
export async function prepareFolder(option: string, path: string): Promise<void> {
  try {
    await createFolder(path);
    await access(path, constants.W_OK | constants.X_OK);
  } catch (cause) {
    const code = codeOf(cause);
    const why =
      code === "EEXIST" || code === "ENOTDIR"
        ? "is a file or lies below one"
        : code === "EACCES" || code === "EPERM" || code === "EROFS"
          ? "may not be written to"
          : `cannot be used (${code})`;
    throw new UsageError(`${option} ${path}: ${why}; give a folder that can be written to`, { cause });
  }
}
