/** Reading safetensors files tensor by tensor: the header first, then no more than what is asked for. */
import { open, stat } from "node:fs/promises";
import type { Shape } from "../../backends/backend.ts";
import type { DType } from "../../backends/dtype.ts";
import { tensor as makeTensor } from "../../tensor/create.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { decodeElements, dtypeOfStored } from "../elements.ts";
import { FileFormatError } from "../errors.ts";
import {
  formatOf,
  lengthBytes,
  readHeader,
  readHeaderLength,
  type SafetensorsDType,
  type SafetensorsEntry,
} from "./header.ts";

/** What a file says of one tensor. */
export interface SafetensorsInfo {
  readonly name: string;
  /** As the file stores it. */
  readonly storedDType: SafetensorsDType;
  /** Of the tensor that `tensor(name)` gives: F16 and BF16 become f32, wide integers i32. */
  readonly dtype: DType;
  readonly shape: Shape;
}

/** One system call reads at most so many bytes. */
const chunkBytes = 64 * 2 ** 20;

/** Exactly `count` bytes from `position` on. Throws when the file ends before. */
async function readExactly(handle: OpenFile, position: number, count: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(count);
  for (let done = 0; done < count; ) {
    const length = Math.min(chunkBytes, count - done);
    const { bytesRead } = await handle.read(bytes, done, length, position + done);
    if (bytesRead === 0)
      throw new FileFormatError(
        `the file ends ${count - done} bytes too early; was it cut while being read?`,
      );
    done += bytesRead;
  }
  return bytes;
}

/** Errors of what `body` does say which file it was. */
async function inFile<Result>(path: string, body: () => Promise<Result>): Promise<Result> {
  try {
    return await body();
  } catch (error) {
    if (error instanceof FileFormatError) error.message = `${path}: ${error.message}`;
    throw error;
  }
}

/** What is needed of Node's FileHandle; the published types must not ask for Node's. */
interface OpenFile {
  read(
    into: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ readonly bytesRead: number }>;
  close(): Promise<void>;
}

/** An open safetensors file. Its tensors are read one by one when they are asked for; close it in the end. */
export class SafetensorsFile {
  readonly path: string;
  /** Every tensor, in the order of the header. */
  readonly tensors: ReadonlyMap<string, SafetensorsInfo>;
  /** Texts that the writer left under `__metadata__`. */
  readonly metadata: ReadonlyMap<string, string>;
  private readonly handle: OpenFile;
  private readonly entries: ReadonlyMap<string, SafetensorsEntry>;
  private readonly dataStart: number;

  /** Use `openSafetensors`. */
  constructor(
    path: string,
    handle: OpenFile,
    dataStart: number,
    entries: ReadonlyMap<string, SafetensorsEntry>,
    metadata: ReadonlyMap<string, string>,
  ) {
    this.path = path;
    this.handle = handle;
    this.dataStart = dataStart;
    this.entries = entries;
    this.metadata = metadata;
    this.tensors = new Map(
      [...entries].map(([name, entry]) => {
        const { dtype: storedDType, shape } = entry;
        return [name, { name, storedDType, dtype: dtypeOfStored(formatOf(entry)), shape }];
      }),
    );
  }

  /** The names of all tensors, in the order of the header. */
  get names(): readonly string[] {
    return [...this.tensors.keys()];
  }

  /**
   * Reads one tensor. Throws when there is none of that name, when the file was cut meanwhile, and when an integer of
   * 64 bits does not fit i32.
   */
  async tensor(name: string): Promise<Tensor> {
    const entry = this.entries.get(name);
    if (!entry)
      throw new Error(
        `${this.path}: has no tensor ${JSON.stringify(name)}; it has ${this.entries.size}, among them ` +
          `${this.names.slice(0, 5).join(", ") || "none"}`,
      );
    return inFile(this.path, async () => {
      const { begin, end, shape } = entry;
      const bytes = await readExactly(this.handle, this.dataStart + begin, end - begin);
      const { dtype, values } = decodeElements(bytes, formatOf(entry), `tensor ${JSON.stringify(name)}`);
      return makeTensor(values, { shape, dtype });
    });
  }

  /** Closes the file. Tensors that were read live on. */
  async close(): Promise<void> {
    await this.handle.close();
  }
}

/**
 * Opens a safetensors file and checks its whole header: nothing that lies about lengths, shapes or places gets past.
 * No tensor is read yet. Throws a FileFormatError that names the file and what is wrong, or the file system's error.
 *
 *     const file = await openSafetensors("model.safetensors");
 *     const weight = await file.tensor("features.conv0.weight");
 *     await file.close();
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  // Asked before opening: to open a pipe would wait for its writer.
  if (!(await stat(path)).isFile())
    throw new FileFormatError(
      `${path}: is a directory or a device, not a safetensors file; name the file in it`,
    );
  const handle = await open(path, "r");
  try {
    return await inFile(path, async () => {
      const { size } = await handle.stat();
      const start = await readExactly(handle, 0, Math.min(size, lengthBytes));
      const headerBytes = readHeaderLength(start, size);
      const dataStart = lengthBytes + headerBytes;
      const json = await readExactly(handle, lengthBytes, headerBytes);
      const { tensors, metadata } = readHeader(json, size - dataStart);
      return new SafetensorsFile(path, handle, dataStart, tensors, metadata);
    });
  } catch (error) {
    await handle.close();
    throw error;
  }
}
