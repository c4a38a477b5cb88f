/**
 * How the instructions of the table are written in a module on a 64-bit memory, so that no kernel is written twice.
 *
 * Kernels count and address in "i32". On a 64-bit memory that type stands for integers of 64 bits: addresses may lie
 * above 4 GiB, and what reaches them (strides, counts, sums of both) is of their type without a conversion anywhere.
 * Where an instruction exists for 32 bits alone (lanes, shift counts, comparisons of floats), its operands are cut to
 * 32 bits and its result is extended, with its sign. So an "i32" has there the value that it has in 32 bits, unless it
 * has passed beyond them: arithmetic that relies on wrapping round at 2^32 must not be scalar.
 */
import type { Encoding } from "./encodings.ts";
import { opcodes } from "./opcodes.ts";

/** What an instruction takes an operand of 64 bits as: 32 bits of it, or whether it is not 0. */
export type NarrowForm = "low" | "truth";

/** Instructions on 64 bits that the table does not have, since nothing else needs them. */
const loadsAndExtensions = {
  "i32.load": 0x34,
  "i32.load8_s": 0x30,
  "i32.load8_u": 0x31,
  "i32.load16_s": 0x32,
  "i32.load16_u": 0x33,
  "i32.store": 0x3e,
  "i32.store8": 0x3c,
  "i32.store16": 0x3d,
  "i32.extend8_s": 0xc2,
  "i32.extend16_s": 0xc3,
} as const satisfies Readonly<Record<string, number>>;

/** Instructions on i32 that are the same on i64; the others see 32 bits, such as those that count leading zeros. */
const arithmetic = /^i32\.(add|sub|mul|div_.|rem_.|and|or|xor|shl|shr_.|eqz?|ne|[lg][te]_.)$/;
/** Instructions on the memory's own sizes and addresses. */
const bulk = /^memory\.(size|copy|fill)$/;

/** What follows a 32-bit result, with and without a sign: `i64.extend_i32_s` and `i64.extend_i32_u`. */
const extendSigned = 0xac;
const extendUnsigned = 0xad;
/** What follows an operand: `i32.wrap_i64`, and `i64.const 0`, `i64.ne`. */
export const narrowing: Readonly<Record<NarrowForm, readonly number[]>> = {
  low: [0xa7],
  truth: [0x42, 0, 0x52],
};

/** The opcode of the instruction on 64 bits that stands for one on i32. */
function counterpart(name: string): number | undefined {
  if (name in loadsAndExtensions) return loadsAndExtensions[name as keyof typeof loadsAndExtensions];
  if (!arithmetic.test(name)) return undefined;
  const [, opcode] = opcodes[name.replace("i32", "i64") as keyof typeof opcodes];
  return opcode;
}

/** The same instruction for a module on a 64-bit memory. */
export function widen(encoding: Encoding): Encoding {
  const { name, takes, gives, alignment } = encoding;
  const opcode = counterpart(name);
  if (opcode !== undefined) {
    const isComparison = /\.(eqz?|ne|[lg][te]_.)$/.test(name);
    return { ...encoding, code: [opcode], ...(isComparison && { extend: extendUnsigned }) };
  }
  const forms = takes.map((type, index): NarrowForm | undefined => {
    const isAddress = alignment !== undefined && index === 0;
    const isBulkSize = bulk.test(name) && !(name === "memory.fill" && index === 1);
    return type === "i32" && !isAddress && !isBulkSize ? "low" : undefined;
  });
  return {
    ...encoding,
    ...(forms.some((form) => form !== undefined) && { forms }),
    ...(gives === "i32" && !bulk.test(name) && { extend: extendSigned }),
  };
}
