/**
 * Bytes that grow at the end, and WebAssembly's ways to write numbers, names and sections into them.
 *
 * Integers are LEB128: seven bits a byte, the lowest first, the top bit set on all bytes but the last
 * (https://webassembly.github.io/spec/core/binary/values.html). Floats keep the sign of zero; every NaN becomes the
 * canonical one, since JavaScript does not say which of its NaNs it has. For the others, reinterpret an integer.
 */
import type { OpcodeRow } from "./opcodes.ts";

const utf8 = new TextEncoder();

export class ByteWriter {
  private data: Uint8Array<ArrayBuffer>;
  private view: DataView<ArrayBuffer>;
  private end = 0;

  constructor(capacity: number) {
    this.data = new Uint8Array(capacity);
    this.view = new DataView(this.data.buffer);
  }

  get length(): number {
    return this.end;
  }

  byte(value: number): void {
    if (this.end === this.data.length) this.reserve(1);
    this.data[this.end++] = value;
  }

  bytes(values: ArrayLike<number>): void {
    this.reserve(values.length);
    // A loop, since most are a few bytes, for which `set` takes several times longer.
    for (let index = 0; index < values.length; index++) this.data[this.end++] = values[index] ?? 0;
  }

  /** An unsigned integer of 32 bits, 1 to 5 bytes. */
  u32(value: number): void {
    if (!Number.isInteger(value) || value < 0 || value > 0xffff_ffff)
      throw new RangeError(`${value} is not an unsigned integer of 32 bits (0 to 4294967295)`);
    let rest = value;
    for (; rest > 0x7f; rest >>>= 7) this.byte((rest & 0x7f) | 0x80);
    this.byte(rest);
  }

  /** An integer of 32 bits, 1 to 5 bytes. One from 2^31 on stands for the signed integer of the same bits. */
  i32(value: number): void {
    if (!Number.isInteger(value) || value < -0x8000_0000 || value > 0xffff_ffff)
      throw new RangeError(`${value} is not an integer of 32 bits (-2147483648 to 4294967295)`);
    let rest = value | 0;
    for (; rest < -0x40 || rest > 0x3f; rest >>= 7) this.byte((rest & 0x7f) | 0x80);
    this.byte(rest & 0x7f);
  }

  /** An integer of 64 bits, 1 to 10 bytes. One from 2^63 on stands for the signed integer of the same bits. */
  i64(value: bigint): void {
    if (value < -(2n ** 63n) || value >= 2n ** 64n)
      throw new RangeError(`${value} is not an integer of 64 bits (-2^63 to 2^64 - 1)`);
    let rest = BigInt.asIntN(64, value);
    for (; rest < -0x40n || rest > 0x3fn; rest >>= 7n) this.byte(Number(rest & 0x7fn) | 0x80);
    this.byte(Number(rest & 0x7fn));
  }

  f32(value: number): void {
    this.reserve(4);
    if (Number.isNaN(value)) this.view.setUint32(this.end, 0x7fc0_0000, true);
    else this.view.setFloat32(this.end, value, true);
    this.end += 4;
  }

  f64(value: number): void {
    this.reserve(8);
    if (Number.isNaN(value)) this.view.setBigUint64(this.end, 0x7ff8_0000_0000_0000n, true);
    else this.view.setFloat64(this.end, value, true);
    this.end += 8;
  }

  /** The first bytes of a table row's instruction. */
  instruction([prefix, opcode]: OpcodeRow): void {
    if (prefix === 0) this.byte(opcode);
    else {
      this.byte(prefix);
      this.u32(opcode);
    }
  }

  /** A text: its length in bytes, then UTF-8. */
  name(text: string): void {
    const encoded = utf8.encode(text);
    this.u32(encoded.length);
    this.bytes(encoded);
  }

  /** What `write` writes, after its length in bytes. */
  sized(write: (content: ByteWriter) => void): void {
    // Room for the longest length; once the length is known, what was written moves up to it.
    const start = this.end + 5;
    this.reserve(5);
    this.end = start;
    write(this);
    const { end } = this;
    this.end = start - 5;
    this.u32(end - start);
    this.data.copyWithin(this.end, start, end);
    this.end += end - start;
  }

  /** How many items there are, then each. */
  list<Item>(items: readonly Item[], write: (item: Item, index: number) => void): void {
    this.u32(items.length);
    items.forEach(write);
  }

  /** A view of what was written; the next write may leave it behind. */
  written(): Uint8Array<ArrayBuffer> {
    return this.data.subarray(0, this.end);
  }

  private reserve(more: number): void {
    if (this.end + more <= this.data.length) return;
    const grown = new Uint8Array(Math.max(2 * this.data.length, this.end + more));
    grown.set(this.written());
    this.data = grown;
    this.view = new DataView(grown.buffer);
  }
}
