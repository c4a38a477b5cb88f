/** Writing a network's `.weights` file. */
import { endianness } from "node:os";
import { writeFileAtomically } from "../atomicFiles.ts";
import { entriesUpTo, tensorOf, type WeightedNetwork } from "./readWeights.ts";
import { currentHeader, headerBytes, isTransposed, type WeightsHeader } from "./weightsLayout.ts";

export interface SaveWeightsOptions extends Partial<WeightsHeader> {
  /** Only the layers before this index are written. Default: all. */
  readonly cutoff?: number;
}

/** The little-endian bytes of an array's numbers as f32. */
function floatBytes(values: ArrayLike<number>): Uint8Array {
  const floats = Float32Array.from(values);
  const bytes = Buffer.from(floats.buffer);
  return endianness() === "BE" ? bytes.swap32() : bytes;
}

/**
 * Writes a network's weights and running statistics as Darknet and OpenCV read them, one tensor at a time; the header
 * is that of version 0.2.5 unless told otherwise. The file appears under its name when it is complete and on the disk.
 * Numbers are rounded to f32. Throws for versions above 1000, which mark transposed files, and the file system's error.
 */
export async function saveDarknetWeights(
  network: WeightedNetwork,
  path: string,
  { cutoff, ...given }: SaveWeightsOptions = {},
): Promise<void> {
  const header = { ...currentHeader, ...given };
  if (isTransposed(header))
    throw new RangeError(
      `weights: version ${header.major}.${header.minor} marks transposed files, which are read but not written; use ` +
        `${currentHeader.major}.${currentHeader.minor}`,
    );
  const entries = entriesUpTo(network.plan, cutoff);
  const state = network.stateDict();
  const tensors = entries.map((entry) => tensorOf(state, entry));
  const start = headerBytes(header);
  await writeFileAtomically(path, async (write) => {
    await write(start);
    for (const values of tensors) await write(floatBytes(await values.data()));
  });
}
