/**
 * Weight gradients in shares: a sum over all images and rows is cut into chunks of pieces, so that the device has enough
 * threads; the shares are added afterwards, in order, so that the bits do not depend on timing.
 */
import { type GpuRuntime, type GpuView, layoutNumbers } from "../../runtime.ts";
import { type Extents, isRowMajor } from "./geometry.ts";

/** Where the shares go, `[chunks, groups · K, C, R, S]` from `offset` on, and over how many pieces each one sums. */
export interface Shares {
  readonly memory: GpuView["buffer"];
  readonly offset: number;
  readonly chunks: number;
  readonly pieces: number;
}

/** Adds the shares up into `y` `[groups · K, C, R, S]`. */
function addShares(runtime: GpuRuntime, shares: GpuView["buffer"], chunks: number, y: GpuView): void {
  const [K, C, R, S] = y.shape;
  runtime.launch({
    label: "addShares",
    operands: [
      { name: "x", buffer: shares, access: "read" },
      { name: "y", buffer: y.buffer, access: "write" },
    ],
    numbers: { ...layoutNumbers("y", y), C, R, S, chunks },
    threads: K * C * R * S,
    shader: () => ({
      body: `
  var sum = 0.0;
  for (var chunk = 0; chunk < p.chunks; chunk++) { sum += x_get(chunk * p.threads + id); }
  let s = id % p.S;
  var rest = id / p.S;
  let r = rest % p.R;
  rest = rest / p.R;
  y_set(p.y_o + (rest / p.C) * p.y_0 + (rest % p.C) * p.y_1 + r * p.y_2 + s * p.y_3, sum);`,
    }),
  });
}

/**
 * Lets `launch` compute the shares of a sum over so many pieces (rows, or parts of them), by so many threads a share,
 * and sums them into `y` `[groups · K, C, R, S]`.
 */
export function launchShares(
  runtime: GpuRuntime,
  { groups, C, K, R, S }: Extents,
  allPieces: number,
  threads: number,
  y: GpuView,
  launch: (shares: Shares) => void,
): void {
  const useful = Math.ceil(runtime.traits.usefulThreads / Math.max(1, threads));
  const wanted = Math.max(1, Math.min(allPieces, useful));
  const pieces = Math.max(1, Math.ceil(allPieces / wanted));
  const chunks = Math.max(1, Math.ceil(allPieces / pieces));
  // One share is the sum; adding up took a tenth of a step of small images.
  if (chunks === 1 && isRowMajor(y)) launch({ memory: y.buffer, offset: y.offset, chunks, pieces });
  else
    runtime.scratch(chunks * groups * K * C * R * S, (memory) => {
      launch({ memory, offset: 0, chunks, pieces });
      addShares(runtime, memory, chunks, y);
    });
}
