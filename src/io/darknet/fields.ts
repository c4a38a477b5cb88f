/** How the value of a cfg key is read from its text and checked: the building blocks of `schema.ts`. */
import { z } from "zod";

/** Darknet keeps counts and sizes in C's int. */
const largestInteger = 2 ** 31 - 1;

/** Longer lists than any key of any network has. */
const longestList = 10_000;

function parsed<Value>(expected: string, parse: (text: string) => Value | undefined) {
  return z.string().transform((text, context) => {
    const value = parse(text);
    if (value !== undefined) return value;
    context.issues.push({ code: "custom", message: expected, input: text });
    return z.NEVER;
  });
}

function readInteger(text: string, low: number, high: number): number | undefined {
  const value = /^[+-]?\d{1,12}$/.test(text) ? Number(text) : Number.NaN;
  return value >= low && value <= high ? value : undefined;
}

function readNumber(text: string): number | undefined {
  const plain = /^[+-]?(\d+[.]?\d*|[.]\d+)(e[+-]?\d+)?$/i.test(text);
  const value = Number(text);
  return plain && Number.isFinite(value) ? value : undefined;
}

function readList<Item>(text: string, read: (item: string) => Item | undefined): readonly Item[] | undefined {
  const items = text.split(",", longestList + 1);
  if (items.length > longestList) return undefined;
  const values = items.map(read);
  const complete = (value: Item | undefined): value is Item => value !== undefined;
  return values.every(complete) ? values : undefined;
}

const from = (low: number, high: number) =>
  high < largestInteger
    ? `from ${low} to ${high}`
    : low === -largestInteger
      ? "that fits 32 bits"
      : `>= ${low}`;

export const integer = (low = -largestInteger, high = largestInteger) =>
  parsed(`must be an integer ${from(low, high)}`, (text) => readInteger(text, low, high));

/** How many, or how large: at least 1. */
export const count = () => integer(1);

/** 0 or 1 in every public cfg; Darknet takes any number but 0 for yes. */
export const flag = () => integer();

export const real = () => parsed("must be a number", readNumber);

/** A number in [low, high]. */
export const realFrom = (low: number, high: number) =>
  parsed(`must be a number from ${low} to ${high}`, (text) => {
    const value = readNumber(text);
    return value !== undefined && value >= low && value <= high ? value : undefined;
  });

export const integers = () =>
  parsed("must be integers with commas between", (text) =>
    readList(text, (item) => readInteger(item, -largestInteger, largestInteger)),
  );

export const reals = () =>
  parsed("must be numbers with commas between", (text) => readList(text, readNumber));

/** A name or path, kept as it is. */
export const word = () =>
  parsed("must be a word", (text) => (/^[^=[\]]{1,1000}$/.test(text) ? text : undefined));

/** One of the given words. */
export const oneOf = <Word extends string>(words: readonly Word[]) =>
  parsed(`must be one of ${words.join(", ")}`, (text) => words.find((known) => known === text));

/** A key that would change what the layer computes and that is not supported: only its neutral value passes. */
export const unsupported = (neutral: string) =>
  parsed(`is not supported but for ${neutral}; remove it`, (text) => (text === neutral ? text : undefined));
