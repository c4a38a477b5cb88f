/**
 * Scratch memory that kernels keep between calls.
 *
 * A training step runs thousands of kernels; allocating their packing buffers anew would cost more in clearing and
 * collecting than many of them cost to run. A kernel never runs inside another call of itself, so one buffer per
 * place of use is enough.
 */
import type { TypedArray } from "../../dtype.ts";

/** Returns an array of at least `length` elements whose contents are unspecified; it is only ever replaced by a larger one. */
export type Workspace<T extends TypedArray> = (length: number) => T;

let heldBytes = 0;
let generation = 0;

/** Bytes of scratch memory held by all kernels together. */
export function workspaceBytes(): number {
  return heldBytes;
}

/** Gives all scratch memory back; each kernel allocates what it needs at its next call. */
export function releaseWorkspaces(): void {
  generation += 1;
  heldBytes = 0;
}

/** A scratch buffer for one place of use, e.g. `createWorkspace((length) => new Float64Array(length))`. */
export function createWorkspace<T extends TypedArray>(create: (length: number) => T): Workspace<T> {
  let held = create(0);
  let heldGeneration = generation;
  return (length) => {
    if (heldGeneration !== generation) {
      held = create(0);
      heldGeneration = generation;
    }
    if (held.length < length) {
      heldBytes -= held.byteLength;
      held = create(length);
      heldBytes += held.byteLength;
    }
    return held;
  };
}
