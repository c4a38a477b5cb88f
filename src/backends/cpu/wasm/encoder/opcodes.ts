/**
 * Every instruction that the encoder knows, as one table of data: name, bytes, operand types, result type, immediates.
 *
 * The typed methods (`f.f32x4.add(a, b)`), their run-time checks and the tests (each row is validated by V8 and read
 * back by wabt) are all derived from it, so a new instruction is one more row. Rows that need to know of blocks,
 * locals or other functions are apart, in `controlOpcodes`: `FunctionBuilder` has a method for each.
 *
 * Names and encodings are those of https://webassembly.github.io/spec/core/appendix/index-instructions.html
 */
import { atomicOpcodes } from "./opcodesAtomic.ts";
import { scalarOpcodes } from "./opcodesScalar.ts";
import { simdOpcodes } from "./opcodesSimd.ts";

/** The types of locals, operands and results. */
export type ValueType = "i32" | "i64" | "f32" | "f64" | "v128";

/** How a type is written in signatures and locals. */
export const valueTypeCodes: Readonly<Record<ValueType, number>> = {
  i32: 0x7f,
  i64: 0x7e,
  f32: 0x7d,
  f64: 0x7c,
  v128: 0x7b,
};

/**
 * `[prefix or 0, opcode, operand types, result type or "", immediates]`, the lists with a space between their words.
 *
 * Immediates: `memory16` an address offset and the access's natural alignment in bytes; `lane4` a lane below 4;
 * `lanes32` sixteen lanes below 32; `zero` a byte 0, the index of the only memory; a value type, a constant of it.
 */
export type OpcodeRow = readonly [
  prefix: number,
  opcode: number,
  takes: string,
  gives: ValueType | "",
  immediates?: string,
];

export const opcodes = { ...scalarOpcodes, ...simdOpcodes, ...atomicOpcodes } as const;

/** First bytes of the instructions that `FunctionBuilder` writes itself. */
export const controlOpcodes = {
  unreachable: 0x00,
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  end: 0x0b,
  br: 0x0c,
  br_if: 0x0d,
  return: 0x0f,
  call: 0x10,
  drop: 0x1a,
  select: 0x1b,
  "local.get": 0x20,
  "local.set": 0x21,
  "local.tee": 0x22,
} as const;
