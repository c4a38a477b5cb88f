/**
 * The protobuf wire format, as much as ONNX files need: tagged varints, 32 and 64 bits, and lengths with bytes.
 * Reading looks at the bytes in place and never allocates on the word of a length; what a field means is the business
 * of `decode.ts`.
 */
import { FileFormatError } from "../errors.ts";

/** One field of a message. Numbers of 64 bits are kept as such: as doubles they would be rounded. */
export type WireField =
  | { readonly number: number; readonly kind: "varint"; readonly value: bigint }
  | { readonly number: number; readonly kind: "fixed32" | "fixed64" | "bytes"; readonly bytes: Uint8Array };

const error = (problem: string): FileFormatError => new FileFormatError(`ONNX: ${problem}`);

/** How many fields a file may have in all: an object of some 100 bytes is made of two bytes of a liar's file. */
const maxFields = 4_000_000;

/** Reads messages of one file, whose fields together stay within a bound. */
export class WireReader {
  private fieldsLeft = maxFields;

  /** The fields of a message in the order of the bytes. Throws a FileFormatError where they are none. */
  *fields(message: Uint8Array): Generator<WireField> {
    let at = 0;
    const take = (count: bigint): Uint8Array => {
      if (count > BigInt(message.byteLength - at))
        throw error(
          `a field of ${count} bytes leaves its message of ${message.byteLength} bytes; is the file complete?`,
        );
      const bytes = message.subarray(at, at + Number(count));
      at += Number(count);
      return bytes;
    };
    while (at < message.byteLength) {
      this.count();
      const tag = readVarint(message, at);
      at = tag.next;
      const [number, wireType] = [Number(tag.value >> 3n), Number(tag.value & 7n)];
      if (number === 0 || tag.value >= 2n ** 32n)
        throw error("a field has no valid number; is this an ONNX file?");
      switch (wireType) {
        case 0: {
          const { value, next } = readVarint(message, at);
          at = next;
          yield { number, kind: "varint", value };
          break;
        }
        case 1:
          yield { number, kind: "fixed64", bytes: take(8n) };
          break;
        case 2: {
          const { value, next } = readVarint(message, at);
          at = next;
          yield { number, kind: "bytes", bytes: take(value) };
          break;
        }
        case 5:
          yield { number, kind: "fixed32", bytes: take(4n) };
          break;
        default:
          throw error(
            `a field has the wire type ${wireType}, which ONNX does not use; is this an ONNX file?`,
          );
      }
    }
  }

  /** The varints of a packed field. */
  packedVarints(bytes: Uint8Array): bigint[] {
    const values: bigint[] = [];
    for (let at = 0; at < bytes.byteLength; ) {
      this.count();
      const { value, next } = readVarint(bytes, at);
      values.push(value);
      at = next;
    }
    return values;
  }

  private count(): void {
    this.fieldsLeft -= 1;
    if (this.fieldsLeft < 0) throw error(`the file has more than ${maxFields} fields and packed integers`);
  }
}

function readVarint(bytes: Uint8Array, start: number): { readonly value: bigint; readonly next: number } {
  let value = 0n;
  for (let i = 0; i < 10; i++) {
    const byte = bytes[start + i];
    if (byte === undefined) throw error("the file ends within a number; is it complete?");
    if (i === 0 && byte < 128) return { value: BigInt(byte), next: start + 1 };
    value |= BigInt(byte & 127) << BigInt(7 * i);
    if (byte < 128) return { value: value & (2n ** 64n - 1n), next: start + i + 1 };
  }
  throw error("a number takes more than ten bytes; is this an ONNX file?");
}

function varintBytes(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  while (rest >= 128n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return bytes;
}

const encoder = new TextEncoder();

/** Writes one message. Bytes that are given are kept, not copied, until `concatenated`. */
export class WireWriter {
  private readonly chunks: Uint8Array[] = [];
  private length = 0;

  get byteLength(): number {
    return this.length;
  }

  integer(field: number, value: number | bigint): this {
    this.push(Uint8Array.of(...this.tag(field, 0), ...varintBytes(BigInt(value))));
    return this;
  }

  float(field: number, value: number): this {
    this.push(Uint8Array.from(this.tag(field, 5)));
    this.push(new Uint8Array(Float32Array.of(value).buffer));
    return this;
  }

  bytes(field: number, value: Uint8Array): this {
    this.push(Uint8Array.of(...this.tag(field, 2), ...varintBytes(BigInt(value.byteLength))));
    this.push(value);
    return this;
  }

  text(field: number, value: string): this {
    return this.bytes(field, encoder.encode(value));
  }

  message(field: number, value: WireWriter): this {
    this.push(Uint8Array.of(...this.tag(field, 2), ...varintBytes(BigInt(value.length))));
    for (const chunk of value.chunks) this.push(chunk);
    return this;
  }

  packedIntegers(field: number, values: readonly (number | bigint)[]): this {
    return this.bytes(field, Uint8Array.from(values.flatMap((value) => varintBytes(BigInt(value)))));
  }

  packedFloats(field: number, values: readonly number[]): this {
    return this.bytes(field, new Uint8Array(Float32Array.from(values).buffer));
  }

  /** The message in one piece. */
  concatenated(): Uint8Array {
    const result = new Uint8Array(this.length);
    let at = 0;
    for (const chunk of this.chunks) {
      result.set(chunk, at);
      at += chunk.byteLength;
    }
    return result;
  }

  private tag(field: number, wireType: number): number[] {
    return varintBytes(BigInt(field * 8 + wireType));
  }

  private push(chunk: Uint8Array): void {
    this.chunks.push(chunk);
    this.length += chunk.byteLength;
  }
}
