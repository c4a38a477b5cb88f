/** Constants as code: the `const` instruction of each type with its value. */
import { ByteWriter } from "./bytes.ts";
import { opcodes, type ValueType } from "./opcodes.ts";

/** The value that a constant of each type is made from. */
export interface ConstantValues {
  /** From -2^31; one from 2^31 to 2^32 - 1 stands for the signed integer of the same bits. */
  i32: number;
  i64: bigint;
  /** Rounded to the nearest f32. */
  f32: number;
  f64: number;
  /** Any typed array of 16 bytes, whose type says how the lanes are read. */
  v128: ArrayBufferView;
}

export type ConstantValue = ConstantValues[ValueType];

/** The same in words, for errors. */
export const constantSources: Readonly<Record<ValueType, string>> = {
  i32: "an integer of 32 bits (-2147483648 to 4294967295)",
  i64: "a bigint of 64 bits (-2^63 to 2^64 - 1)",
  f32: "a number",
  f64: "a number",
  v128: "a typed array of 16 bytes",
};

export function isConstantValue(type: ValueType, value: unknown): value is ConstantValue {
  if (type === "i64") return typeof value === "bigint" && value >= -(2n ** 63n) && value < 2n ** 64n;
  if (type === "v128") return ArrayBuffer.isView(value) && value.byteLength === 16;
  if (typeof value !== "number") return false;
  return type !== "i32" || (Number.isInteger(value) && value >= -0x8000_0000 && value <= 0xffff_ffff);
}

/** Writes a constant that is of the type; an i32 of a module on a 64-bit memory (`wide`) as 64 bits. */
export function writeConstant(writer: ByteWriter, type: ValueType, value: ConstantValue, wide = false): void {
  if (wide && type === "i32" && typeof value === "number") {
    writeConstant(writer, "i64", BigInt(value | 0));
    return;
  }
  writer.instruction(opcodes[`${type}.const`]);
  if (typeof value === "bigint") writer.i64(value);
  else if (typeof value !== "number")
    writer.bytes(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
  else if (type === "i32") writer.i32(value);
  else if (type === "f32") writer.f32(value);
  else writer.f64(value);
}

export function constantCode(type: ValueType, value: ConstantValue, wide = false): Uint8Array {
  const writer = new ByteWriter(18);
  writeConstant(writer, type, value, wide);
  return writer.written();
}
