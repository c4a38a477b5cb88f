/** Which number of a weights file is which: its header, and the order in which Darknet writes each layer's tensors. */
import { DarknetError } from "./error.ts";
import { type LayerPlan, type NetworkPlan, weightCount } from "./plan.ts";

/** What a weights file says of itself. */
export interface WeightsHeader {
  readonly major: number;
  readonly minor: number;
  readonly revision: number;
  /** Images that the network was trained on. */
  readonly seen: bigint;
}

/** 0.2.5 since 2018: `seen` has 64 bits. */
export const currentHeader: WeightsHeader = { major: 0, minor: 2, revision: 5, seen: 0n };

/** The longest header, in bytes. */
export const longestHeader = 20;

/** Files from before 2015 mark by a version above 1000 that connected layers' weights are stored [in, out]. */
export function isTransposed({ major, minor }: WeightsHeader): boolean {
  return major > 1000 || minor > 1000;
}

/** pjreddie's rule, whose program wrote the transposed files; AlexeyAB's would take 64 bits for them too. */
const hasLongSeen = (header: WeightsHeader) => header.major * 10 + header.minor >= 2 && !isTransposed(header);

/** Bytes of the header. */
export function headerSize(header: WeightsHeader): number {
  return hasLongSeen(header) ? 20 : 16;
}

/** Reads the header from the first bytes of a file. Throws a `DarknetError` when there are too few. */
export function readHeader(bytes: Uint8Array): WeightsHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const short = () =>
    new DarknetError(
      `weights: ${bytes.byteLength} bytes are too few for the header of 16 or 20; the file is no weights file or was cut off`,
    );
  if (bytes.byteLength < 16) throw short();
  const [major, minor, revision] = [0, 4, 8].map((at) => view.getInt32(at, true));
  const version = { major, minor, revision, seen: 0n };
  if (!hasLongSeen(version)) return { ...version, seen: BigInt(view.getUint32(12, true)) };
  if (bytes.byteLength < 20) throw short();
  return { ...version, seen: view.getBigUint64(12, true) };
}

/** The bytes of a header. Throws a RangeError for numbers that its fields cannot hold. */
export function headerBytes(header: WeightsHeader): Uint8Array {
  const { major, minor, revision, seen } = header;
  const long = hasLongSeen(header);
  for (const version of [major, minor, revision])
    if (!Number.isInteger(version) || Math.abs(version) >= 2 ** 31)
      throw new RangeError(
        `weights: version ${major}.${minor}.${revision} does not fit three 32-bit integers`,
      );
  if (seen < 0n || seen >= 2n ** (long ? 64n : 32n))
    throw new RangeError(
      `weights: seen ${seen} does not fit the ${long ? 64 : 32} bits of version ${major}.${minor}`,
    );
  const bytes = new Uint8Array(headerSize(header));
  const view = new DataView(bytes.buffer);
  [major, minor, revision].forEach((value, i) => void view.setInt32(4 * i, value, true));
  if (long) view.setBigUint64(12, seen, true);
  else view.setUint32(12, Number(seen), true);
  return bytes;
}

/** One run of floats in a weights file. */
export interface WeightsEntry {
  readonly layer: number;
  /** Of the tensor in the model's state, `layers.12.norm.running_mean`. */
  readonly name: string;
  readonly count: number;
  /** Of a connected layer's weight. */
  readonly matrix: boolean;
  /** Of a norm's running variance. */
  readonly variance: boolean;
}

function entriesOf(plan: LayerPlan): WeightsEntry[] {
  const { section, index, outputShape } = plan;
  if (section.kind !== "convolutional" && section.kind !== "connected") return [];
  const [channels] = outputShape;
  const connected = section.kind === "connected";
  const own = connected ? "linear" : "conv";
  const entry = (name: string, count = channels): WeightsEntry => ({
    layer: index,
    name: `layers.${index}.${name}`,
    count,
    matrix: connected && name === "linear.weight",
    variance: name === "norm.running_var",
  });
  const weight = entry(`${own}.weight`, weightCount(plan));
  if (section.batch_normalize === 0) return [entry(`${own}.bias`), weight];
  const rest = ["norm.weight", "norm.running_mean", "norm.running_var"].map((name) => entry(name));
  // A convolution's weight comes last, a connected layer's before the norm's scales.
  return connected ? [entry("norm.bias"), weight, ...rest] : [entry("norm.bias"), ...rest, weight];
}

/** The floats of a network's weights file in their order: those of the layers before `cutoff`. */
export function weightsEntries(plan: NetworkPlan, cutoff = plan.layers.length): WeightsEntry[] {
  return plan.layers.slice(0, cutoff).flatMap(entriesOf);
}
