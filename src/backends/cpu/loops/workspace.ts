/**
 * Scratch memory that kernels keep between calls.
 *
 * A training step runs thousands of kernels; allocating their packing buffers anew would cost more in clearing and
 * collecting than many of them cost to run. A kernel never runs inside another call of itself, so one buffer per
 * place of use is enough.
 */
import type { TypedArray } from "../../dtype.ts";

/**
 * Returns an array of at least `length` elements, the same one until a larger one is asked for. A new array holds
 * zeros, an old one what was last written to it.
 */
export type Workspace<T extends TypedArray> = (length: number) => T;

let heldBytes = 0;

/** Bytes of scratch memory held by all kernels together. */
export function workspaceBytes(): number {
  return heldBytes;
}

/** A scratch buffer for one place of use, e.g. `createWorkspace((length) => new Float64Array(length))`. */
export function createWorkspace<T extends TypedArray>(create: (length: number) => T): Workspace<T> {
  let held = create(0);
  return (length) => {
    if (held.length < length) {
      heldBytes -= held.byteLength;
      held = create(length);
      heldBytes += held.byteLength;
    }
    return held;
  };
}
