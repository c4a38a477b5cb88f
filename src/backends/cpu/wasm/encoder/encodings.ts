/** The rows of the table read once, and the immediates that follow an instruction's bytes. */
import type { FunctionBody } from "./body.ts";
import { ByteWriter } from "./bytes.ts";
import { type OpcodeRow, opcodes, type ValueType } from "./opcodes.ts";
import type { NarrowForm } from "./wide.ts";

export interface Encoding {
  readonly name: string;
  /** Prefix, opcode, and the index of the memory where the instruction has one. */
  readonly code: readonly number[];
  readonly takes: readonly ValueType[];
  readonly gives: ValueType | "";
  /** Whether it is a `const`, whose immediate is the value itself. */
  readonly isConstant: boolean;
  /** log2 of the natural alignment in bytes, for an access to memory. */
  readonly alignment: number | undefined;
  readonly lanes: { readonly below: number; readonly count: number } | undefined;
  /** Set by `widen`: what is done to operands first, and the opcode that extends the result. */
  readonly forms?: readonly (NarrowForm | undefined)[];
  readonly extend?: number;
}

function isValueType(word: string): word is ValueType {
  return /^([if](32|64)|v128)$/.test(word);
}

function readRow([name, row]: readonly [string, OpcodeRow]): Encoding {
  const [, , takes, gives, immediates = ""] = row;
  const writer = new ByteWriter(8);
  writer.instruction(row);
  for (const immediate of immediates.split(" ")) if (immediate === "zero") writer.byte(0);
  const [, bytes] = /memory(\d+)/.exec(immediates) ?? [];
  const [, several, below] = /lane(s?)(\d+)/.exec(immediates) ?? [];
  return {
    name,
    code: Array.from(writer.written()),
    takes: takes.split(" ").filter(isValueType),
    gives,
    isConstant: isValueType(immediates),
    alignment: bytes ? Math.log2(Number(bytes)) : undefined,
    lanes: below ? { below: Number(below), count: several ? 16 : 1 } : undefined,
  };
}

export const encodings: readonly Encoding[] = Object.entries(opcodes).map(readRow);

const byName: ReadonlyMap<string, Encoding> = new Map(encodings.map((encoding) => [encoding.name, encoding]));

export function encodingOf(name: keyof typeof opcodes): Encoding {
  const encoding = byName.get(name);
  if (!encoding) throw new Error(`the table has no instruction ${name}`);
  return encoding;
}

/** How many immediates its method takes. */
export function immediateCount({ alignment, lanes }: Encoding): number {
  return (alignment === undefined ? 0 : 1) + (lanes ? 1 : 0);
}

/**
 * The instruction's bytes with its immediates.
 *
 * @param immediates the lane or lanes, then the address offset, as the methods take them
 */
export function encode(
  encoding: Encoding,
  immediates: readonly unknown[],
  body: FunctionBody,
): ArrayLike<number> {
  const { name, code, alignment, lanes } = encoding;
  if (alignment === undefined && !lanes) return code;
  const bytes = [...code];
  if (alignment !== undefined) {
    const offset = immediates[lanes ? 1 : 0] ?? 0;
    if (!isBelow(offset, 2 ** 32))
      body.fail(name, `has the address offset ${offset}: it counts bytes, from 0 to 4294967295`);
    bytes.push(alignment);
    let rest = offset;
    for (; rest > 0x7f; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
    bytes.push(rest);
  }
  if (!lanes) return bytes;
  const chosen: readonly unknown[] = Array.isArray(immediates[0]) ? immediates[0] : immediates.slice(0, 1);
  if (chosen.length !== lanes.count)
    body.fail(name, `has ${lanes.count === 1 ? "one lane" : `${lanes.count} lanes`}, got ${chosen.length}`);
  for (const lane of chosen) {
    if (!isBelow(lane, lanes.below))
      body.fail(name, `has the lane ${lane}: it goes from 0 to ${lanes.below - 1}`);
    bytes.push(lane);
  }
  return bytes;
}

function isBelow(value: unknown, end: number): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value < end;
}
