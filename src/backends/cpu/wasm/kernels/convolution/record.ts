/** Records of 32-bit integers in the shared memory: how a kernel is told more than a few parameters. */
import type { Expression, FunctionBuilder, Reusable } from "../../encoder/index.ts";
import type { WasmRuntime } from "../../runtime.ts";

export const floatBytes = 4;

/** The fields of a kind of record, in the order of memory: words, since some are addresses. */
export class RecordLayout<Field extends string> {
  readonly fields: readonly Field[];
  readonly #places: ReadonlyMap<Field, number>;

  constructor(fields: readonly Field[]) {
    this.fields = fields;
    this.#places = new Map(fields.map((field, i) => [field, i]));
  }

  /** Reads a field of the record at `address`. */
  load(f: FunctionBuilder, address: Reusable<"i32">, field: Field): Expression<"i32"> {
    return f.word(address, this.#places.get(field) ?? 0);
  }

  /** Puts a record into memory that stays reserved, and gives its address. */
  write(runtime: WasmRuntime, values: Readonly<Record<Field, number>>): number {
    return writeWords(
      runtime,
      this.fields.map((field) => values[field]),
    );
  }
}

/** Puts integers that may be addresses into memory that stays reserved, and gives their address. */
export function writeWords(runtime: WasmRuntime, values: ArrayLike<number>): number {
  const address = runtime.memory.allocateBytes(runtime.wordBytes * values.length);
  runtime.wordsAt(address, values.length).set(values);
  return address;
}

/** The same for integers of 32 bits, such as offsets, which kernels read with `i32.load`. */
export function writeIntegers(runtime: WasmRuntime, values: ArrayLike<number>): number {
  const address = runtime.memory.allocateBytes(floatBytes * values.length);
  runtime.integersAt(address, values.length).set(values);
  return address;
}
