/**
 * The part of JSON that a safetensors header is made of: objects, arrays, strings and unsigned integers. JSON.parse
 * keeps the last of two equal keys without a word, rounds large integers, and lets `__proto__` be a property; here
 * keys are unique, integers exact, and objects are maps.
 */
import { FileFormatError } from "../errors.ts";

export type HeaderValue = string | number | readonly HeaderValue[] | ReadonlyMap<string, HeaderValue>;

/** A header nests three deep: file, tensor, list of extents. */
const maxDepth = 4;

class HeaderParser {
  private readonly text: string;
  private at = 0;

  constructor(text: string) {
    this.text = text;
  }

  parse(): HeaderValue {
    const value = this.value(0);
    this.skipSpace();
    if (this.at < this.text.length) throw this.error("goes on after its end");
    return value;
  }

  private value(depth: number): HeaderValue {
    if (depth > maxDepth) throw this.error(`nests more than ${maxDepth} levels`);
    this.skipSpace();
    const start = this.text[this.at];
    if (start === "{") return this.object(depth);
    if (start === "[") return this.array(depth);
    return start === '"' ? this.string() : this.integer();
  }

  private object(depth: number): ReadonlyMap<string, HeaderValue> {
    const entries = new Map<string, HeaderValue>();
    this.list("}", () => {
      this.skipSpace();
      const key = this.string();
      if (entries.has(key)) throw this.error(`has ${JSON.stringify(key.slice(0, 200))} twice`);
      this.skipSpace();
      this.expect(":");
      entries.set(key, this.value(depth + 1));
    });
    return entries;
  }

  private array(depth: number): readonly HeaderValue[] {
    const items: HeaderValue[] = [];
    this.list("]", () => void items.push(this.value(depth + 1)));
    return items;
  }

  /** Items between commas, from an opening bracket to `close`. */
  private list(close: "}" | "]", item: () => void): void {
    this.at += 1;
    this.skipSpace();
    if (this.text[this.at] === close) {
      this.at += 1;
      return;
    }
    for (;;) {
      item();
      this.skipSpace();
      if (this.text[this.at] === close) break;
      this.expect(",");
    }
    this.at += 1;
  }

  private string(): string {
    const start = this.at;
    this.expect('"');
    for (;;) {
      const character = this.text[this.at];
      if (character === undefined) throw this.error("ends within a string");
      this.at += character === "\\" ? 2 : 1;
      if (character === '"') break;
    }
    try {
      const value: unknown = JSON.parse(this.text.slice(start, this.at));
      if (typeof value === "string") return value;
    } catch {
      // The error below says what is wrong, in the words of this format.
    }
    throw this.error("has a string with an invalid escape or a control character");
  }

  private integer(): number {
    const start = this.at;
    while (/[-+.\w]/.test(this.text[this.at] ?? "")) this.at += 1;
    const written = this.text.slice(start, this.at);
    if (!/^(0|[1-9][0-9]*)$/.test(written) || !Number.isSafeInteger(Number(written)))
      throw this.error(
        written
          ? `has ${written.slice(0, 40)} for an unsigned integer`
          : `has ${JSON.stringify(this.text[this.at] ?? "its end")} in the place of a value`,
      );
    return Number(written);
  }

  private expect(character: string): void {
    if (this.text[this.at] !== character)
      throw this.error(
        `has ${JSON.stringify(this.text[this.at] ?? "its end")} in the place of ${JSON.stringify(character)}`,
      );
    this.at += 1;
  }

  private skipSpace(): void {
    while (" \t\n\r".includes(this.text[this.at] ?? "x")) this.at += 1;
  }

  private error(problem: string): FileFormatError {
    return new FileFormatError(`safetensors: the header ${problem} (at character ${this.at})`);
  }
}

/** Parses a header. Throws a FileFormatError for what is no such JSON, for equal keys, and for other values. */
export function parseHeaderJson(text: string): HeaderValue {
  return new HeaderParser(text).parse();
}
