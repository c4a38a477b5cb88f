/** Records of 32-bit integers in the shared memory: how a kernel is told more than a few parameters. */
import type { Expression, FunctionBuilder, Reusable } from "../../encoder/index.ts";
import type { WasmRuntime } from "../../runtime.ts";

export const floatBytes = 4;
const fieldBytes = 4;

/** The fields of a kind of record, in the order of memory. */
export class RecordLayout<Field extends string> {
  readonly fields: readonly Field[];
  readonly bytes: number;
  readonly #offsets: ReadonlyMap<Field, number>;

  constructor(fields: readonly Field[]) {
    this.fields = fields;
    this.bytes = fieldBytes * fields.length;
    this.#offsets = new Map(fields.map((field, i) => [field, fieldBytes * i]));
  }

  /** Reads a field of the record at `address`. */
  load(f: FunctionBuilder, address: Reusable<"i32">, field: Field): Expression<"i32"> {
    return f.i32.load(address, this.#offsets.get(field) ?? 0);
  }

  /** Puts a record into memory that stays reserved, and gives its address. */
  write(runtime: WasmRuntime, values: Readonly<Record<Field, number>>): number {
    return writeIntegers(
      runtime,
      this.fields.map((field) => values[field]),
    );
  }
}

/** Puts integers into memory that stays reserved, and gives their address. */
export function writeIntegers(runtime: WasmRuntime, values: ArrayLike<number>): number {
  const address = runtime.memory.allocateBytes(fieldBytes * values.length);
  new Int32Array(runtime.memory.memory.buffer, address, values.length).set(values);
  return address;
}
