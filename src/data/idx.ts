/**
 * The IDX format of MNIST and its descendants: two zero bytes, a byte for the element type, a byte for the
 * number of dimensions, the dimensions as big-endian unsigned 32-bit integers, then the elements, big-endian,
 * last dimension fastest. Files may be compressed with gzip.
 */
import { createGunzip } from "node:zlib";
import { DataError } from "./errors.ts";
import { largestFile, readWholeFile } from "./files.ts";

interface IdxOf<DType extends string, Data> {
  /** Where it was read from, for error messages. */
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Data;
}

export type IdxArray =
  | IdxOf<"u8", Uint8Array>
  | IdxOf<"i8", Int8Array>
  | IdxOf<"i16", Int16Array>
  | IdxOf<"i32", Int32Array>
  | IdxOf<"f32", Float32Array>
  | IdxOf<"f64", Float64Array>;

const elementTypes = new Map<number, { readonly dtype: IdxArray["dtype"]; readonly bytes: number }>([
  [0x08, { dtype: "u8", bytes: 1 }],
  [0x09, { dtype: "i8", bytes: 1 }],
  [0x0b, { dtype: "i16", bytes: 2 }],
  [0x0c, { dtype: "i32", bytes: 4 }],
  [0x0d, { dtype: "f32", bytes: 4 }],
  [0x0e, { dtype: "f64", bytes: 8 }],
]);

/** 4 bytes of magic and at most 255 dimensions. */
const longestHeader = 4 + 4 * 255;

/**
 * Reads an uncompressed IDX file from memory; `name` stands for it in errors. 8-bit data is a view of
 * `bytes`, wider data a converted copy. Nothing is allocated before the dimensions have been checked
 * against the length. Throws a DataError.
 */
export function parseIdx(bytes: Uint8Array, name: string): IdxArray {
  const { dtype, shape, dataStart, fileBytes } = parseHeader(bytes, name);
  const difference = BigInt(bytes.length) - fileBytes;
  if (difference !== 0n) {
    const [amount, remedy] =
      difference < 0n
        ? [`${-difference} bytes short`, "the file is cut off, download it again"]
        : [`${difference} bytes too long`, "the file is damaged or not IDX, download it again"];
    throw new DataError(
      `${name}: its header promises ${dtype} [${shape.join(", ")}], ${fileBytes} bytes in all, ` +
        `but there are ${bytes.length}: ${amount}; ${remedy}`,
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset + dataStart, bytes.length - dataStart);
  const common = { name, shape };
  switch (dtype) {
    case "u8":
      return { ...common, dtype, data: bytes.subarray(dataStart) };
    case "i8":
      return { ...common, dtype, data: new Int8Array(view.buffer, view.byteOffset, view.byteLength) };
    case "i16":
      return {
        ...common,
        dtype,
        data: convert(new Int16Array(view.byteLength / 2), (i) => view.getInt16(2 * i)),
      };
    case "i32":
      return {
        ...common,
        dtype,
        data: convert(new Int32Array(view.byteLength / 4), (i) => view.getInt32(4 * i)),
      };
    case "f32":
      return {
        ...common,
        dtype,
        data: convert(new Float32Array(view.byteLength / 4), (i) => view.getFloat32(4 * i)),
      };
    case "f64":
      return {
        ...common,
        dtype,
        data: convert(new Float64Array(view.byteLength / 8), (i) => view.getFloat64(8 * i)),
      };
  }
}

/** Reads an IDX file, plain or gzip (told apart by content, not by name). Throws a DataError. */
export async function readIdxFile(path: string): Promise<IdxArray> {
  const bytes = await readWholeFile(path);
  const compressed = bytes[0] === 0x1f && bytes[1] === 0x8b;
  if (!compressed && path.endsWith(".gz")) {
    throw new DataError(
      `${path}: is named .gz but is not gzip; if it is already unpacked, drop .gz from its name, else download it again`,
    );
  }
  return parseIdx(compressed ? await gunzip(bytes, path) : bytes, path);
}

interface Header {
  readonly dtype: IdxArray["dtype"];
  readonly shape: readonly number[];
  readonly dataStart: number;
  /** Length of the whole file that the header promises. Dimensions can lie: their product may exceed 2^53. */
  readonly fileBytes: bigint;
}

function parseHeader(bytes: Uint8Array, name: string): Header {
  const [zero0, zero1, typeCode = 0, dimensions = 0] = bytes;
  const hex = Array.from(bytes.subarray(0, 4), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  if (bytes.length < 4) {
    throw new DataError(`${name}: has ${bytes.length} bytes, too few for an IDX file; download it again`);
  }
  const type = elementTypes.get(typeCode);
  if (zero0 !== 0 || zero1 !== 0 || !type || dimensions === 0) {
    throw new DataError(
      `${name}: is not an IDX file: it starts with ${hex}, expected 00 00, a type (08, 09, 0b to 0e) and the ` +
        `number of dimensions (images are 00 00 08 03, labels 00 00 08 01); check the path`,
    );
  }
  const dataStart = 4 + 4 * dimensions;
  if (bytes.length < dataStart) {
    throw new DataError(
      `${name}: ends after ${bytes.length} bytes, inside the header of ${dimensions} dimensions ` +
        `(${dataStart} bytes); the file is cut off, download it again`,
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, dataStart);
  const shape = Array.from({ length: dimensions }, (_, i) => view.getUint32(4 + 4 * i));
  const elements = shape.reduce((product, size) => product * BigInt(size), 1n);
  return {
    dtype: type.dtype,
    shape,
    dataStart,
    fileBytes: BigInt(dataStart) + elements * BigInt(type.bytes),
  };
}

/** Unpacks no more than the IDX header at the front allows, so a small file cannot fill the memory. */
async function gunzip(bytes: Uint8Array, path: string): Promise<Uint8Array> {
  const stream = createGunzip({ chunkSize: 1 << 18 });
  stream.end(bytes);
  const chunks: Uint8Array[] = [];
  let total = 0;
  let limit = BigInt(largestFile);
  let headerSeen = false;
  try {
    for await (const chunk of stream) {
      chunks.push(chunk);
      total += chunk.length;
      if (!headerSeen && total >= longestHeader) {
        headerSeen = true;
        const { fileBytes } = parseHeader(Buffer.concat(chunks), path);
        if (fileBytes < limit) limit = fileBytes;
      }
      if (total > limit) {
        throw new DataError(
          `${path}: unpacks to more than the ${limit} bytes its header (or the limit of 2 GiB) allows; ` +
            `the file is damaged, download it again`,
        );
      }
    }
  } catch (cause) {
    if (cause instanceof DataError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new DataError(
      `${path}: cannot be unpacked (gzip: ${reason}); the file is damaged, download it again`,
      {
        cause,
      },
    );
  }
  return Buffer.concat(chunks, total);
}

function convert<Data extends Int16Array | Int32Array | Float32Array | Float64Array>(
  data: Data,
  read: (index: number) => number,
): Data {
  for (let i = 0; i < data.length; i++) data[i] = read(i);
  return data;
}
