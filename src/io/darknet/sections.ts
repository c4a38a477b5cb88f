/**
 * The surface of a cfg file: lines, comments, sections and their `key=value` entries, each with its line number. What
 * the keys mean is in `schema.ts`.
 */
import { DarknetError, quote } from "./error.ts";

export interface RawEntry {
  readonly key: string;
  readonly value: string;
  readonly line: number;
}

export interface RawSection {
  /** Without brackets, in its long form: "convolutional" for `[conv]`. */
  readonly type: string;
  readonly line: number;
  /** By key. Where a key is repeated its first entry counts, as in Darknet. */
  readonly entries: ReadonlyMap<string, RawEntry>;
}

/** Darknet's short names. */
const longNames = new Map([
  ["network", "net"],
  ["conv", "convolutional"],
  ["conn", "connected"],
  ["max", "maxpool"],
  ["avg", "avgpool"],
  ["local_avg", "local_avgpool"],
  ["soft", "softmax"],
]);

/** Far above every network's (the largest public ones have 60 kB and 310 sections), so that junk ends at once. */
const longestText = 2 ** 22;
const mostSections = 10_000;

function readHeader(line: string, number: number): string {
  const name = /^\[(\w+)\]$/.exec(line)?.[1];
  if (name === undefined)
    throw new DarknetError(`${quote(line)} is no section header; write it as [name]`, {
      line: number,
      section: null,
    });
  return longNames.get(name) ?? name;
}

function readEntry(line: string, number: number, section: string | null): RawEntry {
  const place = { line: number, section };
  if (section === null)
    throw new DarknetError(`${quote(line)} stands before the first section; start with [net]`, place);
  const equals = line.indexOf("=");
  const key = line.slice(0, equals);
  if (equals < 1 || !/^\w+$/.test(key))
    throw new DarknetError(`${quote(line)} is no key=value; comment it out with #`, place);
  return { key, value: line.slice(equals + 1), line: number };
}

/**
 * Splits a cfg into sections. As in Darknet, white space counts nowhere, and lines that start with # or ; are comments;
 * unlike it, a # also ends a value, which Darknet honours in numbers only. Throws a `DarknetError` for anything that is
 * neither header, entry nor comment (Darknet warns and goes on), and for texts beyond any network's size.
 */
export function splitSections(text: string): RawSection[] {
  if (text.length > longestText)
    throw new DarknetError(
      `the text has ${text.length} characters, more than the ${longestText} allowed; is it a cfg?`,
    );
  const sections: { type: string; line: number; entries: Map<string, RawEntry> }[] = [];
  text.split("\n").forEach((raw, i) => {
    const line = raw.replaceAll(/[ \t\r]/g, "");
    if (line === "" || line.startsWith(";")) return;
    const content = line.replace(/#.*$/s, "");
    if (content === "") return;
    const current = sections.at(-1);
    if (content.startsWith("[")) {
      if (sections.length === mostSections)
        throw new DarknetError(`there are more than ${mostSections} sections`, {
          line: i + 1,
          section: null,
        });
      sections.push({ type: readHeader(content, i + 1), line: i + 1, entries: new Map() });
      return;
    }
    const entry = readEntry(content, i + 1, current?.type ?? null);
    if (current && !current.entries.has(entry.key)) current.entries.set(entry.key, entry);
  });
  return sections;
}
