/** Reading `.weights` files into a network: the size is checked first, then every number, and only then is it loaded. */
import { type FileHandle, open, stat } from "node:fs/promises";
import { endianness } from "node:os";
import { copyInto, noGrad, to, transpose } from "../../autograd/index.ts";
import { tensor } from "../../tensor/create.ts";
import { scope } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { DarknetError } from "./error.ts";
import type { NetworkPlan } from "./plan.ts";
import {
  headerSize,
  isTransposed,
  longestHeader,
  readHeader,
  type WeightsEntry,
  type WeightsHeader,
  weightsEntries,
} from "./weightsLayout.ts";

/** What weights are read into and written from: a `DarknetNetwork`. */
export interface WeightedNetwork {
  readonly plan: NetworkPlan;
  stateDict(): Map<string, Tensor>;
}

export interface LoadWeightsOptions {
  /**
   * Only the layers before this index are read, as Darknet does for files such as darknet53.conv.74. The file must hold
   * their floats or those of the whole network. Default: all layers.
   */
  readonly cutoff?: number;
}

/** Floats that are checked at a time. */
const chunkFloats = 2 ** 18;

const countFloats = (entries: readonly WeightsEntry[]) => entries.reduce((sum, { count }) => sum + count, 0);

/** The layers' tensors that the options ask for. Throws when `cutoff` is no layer index. */
export function entriesUpTo(plan: NetworkPlan, cutoff: number | undefined): WeightsEntry[] {
  if (cutoff !== undefined && !(Number.isInteger(cutoff) && cutoff >= 0 && cutoff <= plan.layers.length))
    throw new RangeError(
      `weights: cutoff ${cutoff} must be an integer from 0 to the ${plan.layers.length} layers`,
    );
  return weightsEntries(plan, cutoff);
}

/** The tensor of an entry in the network's state. Throws when the network was changed. */
export function tensorOf(state: ReadonlyMap<string, Tensor>, { name, count }: WeightsEntry): Tensor {
  const found = state.get(name);
  if (found?.size === count) return found;
  throw new Error(
    `weights: the network has ${found ? `${found.size} numbers in` : "no"} ${name}, the cfg says ${count}; ` +
      "was a layer replaced, or folded for inference?",
  );
}

/** The layer after which a file of `floats` numbers stops, where it stops exactly after one. */
function boundary(entries: readonly WeightsEntry[], floats: number): number | null {
  let sum = 0;
  for (const [i, { layer, count }] of entries.entries()) {
    sum += count;
    if (sum >= floats) return sum === floats && entries[i + 1]?.layer !== layer ? layer : null;
  }
  return null;
}

/** Throws unless `floats` is what the wanted layers, or all layers, have. */
function checkCount(path: string, floats: number, plan: NetworkPlan, wanted: readonly WeightsEntry[]): void {
  const all = weightsEntries(plan);
  const [expected, whole] = [countFloats(wanted), countFloats(all)];
  if (floats === expected || floats === whole) return;
  const layer = boundary(all, floats);
  const remedy =
    layer === null
      ? "it is the file of another network, or was cut off"
      : `it stops exactly after layer ${layer}; pass { cutoff: ${layer + 1} } to load the layers that it has`;
  const difference = Math.abs(floats - expected);
  throw new DarknetError(
    `weights ${path}: holds ${floats} floats, ${difference} ${floats < expected ? "fewer" : "more"} than the ${expected} of ` +
      `${wanted.length === all.length ? "the cfg" : "the layers before cutoff"}: ${remedy}`,
  );
}

/** Fills `floats` from the file's position `at`. Throws when the file ends before. */
async function readFloats(file: FileHandle, path: string, floats: Float32Array, at: number): Promise<void> {
  const bytes = new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength);
  for (let done = 0; done < bytes.byteLength; ) {
    const { bytesRead } = await file.read(bytes, done, bytes.byteLength - done, at + done);
    if (bytesRead === 0)
      throw new DarknetError(`weights ${path}: ended while it was read; was it being written?`);
    done += bytesRead;
  }
  if (endianness() === "BE") Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).swap32();
}

/** Throws where an entry holds what no training leaves: NaN, infinity, a negative variance. */
async function checkValues(
  file: FileHandle,
  path: string,
  at: number,
  entries: readonly WeightsEntry[],
): Promise<void> {
  const memory = new Float32Array(Math.min(chunkFloats, Math.max(0, ...entries.map(({ count }) => count))));
  let position = at;
  for (const { layer, name, count, variance } of entries)
    for (let start = 0; start < count; start += memory.length) {
      const chunk = memory.subarray(0, Math.min(memory.length, count - start));
      await readFloats(file, path, chunk, position);
      position += chunk.byteLength;
      const bad = chunk.findIndex((value) => !Number.isFinite(value) || (variance && value < 0));
      if (bad >= 0)
        throw new DarknetError(
          `weights ${path}: number ${start + bad} of ${name} (layer ${layer}) is ${chunk[bad]}; ` +
            "the file is damaged or that of another network",
        );
    }
}

/** Copies one entry's numbers into the network, in its tensor's dtype. */
function store(target: Tensor, values: Float32Array, transposed: boolean): void {
  scope(() =>
    noGrad(() => {
      const shape = transposed ? [...target.shape].reverse() : target.shape;
      const read = tensor(values, { shape, backend: target.backend });
      copyInto(target, to(transposed ? transpose(read) : read, target.dtype));
    }),
  );
}

async function openWeights(path: string): Promise<{ file: FileHandle; size: number }> {
  // Before it is opened: opening a pipe waits for somebody to write into it.
  const found = await stat(path);
  if (!found.isFile())
    throw new DarknetError(`weights ${path}: is no file; give the path of a .weights file`);
  return { file: await open(path, "r"), size: found.size };
}

/**
 * Reads a `.weights` file into a network, one tensor at a time, and returns the file's header. Every version of the
 * format is read: 32 or 64 bits of `seen`, and connected weights stored transposed.
 *
 * Throws a `DarknetError`, with the network as it was, when the file's size is not that of the cfg (with both float
 * counts, and the layer after which a partial file stops), or when it holds NaN, infinities or negative variances.
 * Darknet and OpenCV read on silently. Throws the file system's error when the file cannot be read.
 */
export async function loadDarknetWeights(
  network: WeightedNetwork,
  path: string,
  { cutoff }: LoadWeightsOptions = {},
): Promise<WeightsHeader> {
  const entries = entriesUpTo(network.plan, cutoff);
  const state = network.stateDict();
  const targets = entries.map((entry) => tensorOf(state, entry));
  const { file, size } = await openWeights(path);
  try {
    const start = new Uint8Array(Math.min(size, longestHeader));
    await file.read(start, 0, start.byteLength, 0);
    const header = readHeader(start);
    const at = headerSize(header);
    if ((size - at) % 4 !== 0)
      throw new DarknetError(
        `weights ${path}: ${size - at} bytes after the header are no whole number of 4-byte floats; it is no weights file, or was cut off`,
      );
    checkCount(path, (size - at) / 4, network.plan, entries);
    await checkValues(file, path, at, entries);
    let position = at;
    for (const [i, { count, matrix }] of entries.entries()) {
      const values = new Float32Array(count);
      await readFloats(file, path, values, position);
      position += values.byteLength;
      store(targets[i], values, matrix && isTransposed(header));
    }
    return header;
  } finally {
    await file.close();
  }
}
