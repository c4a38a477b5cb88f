/**
 * Reductions without barriers or atomics. A thread reduces every so-manieth element of one output; where outputs are
 * few, many threads share one and leave partial results that further launches merge, always in the same order. So the
 * bits do not depend on timing, and as no thread adds up more than some thousand elements one after the other, the
 * rounding of long sums grows with the number of levels more than with their length.
 */
import type { GpuRuntime, LaunchOperand } from "../runtime.ts";
import { axesOf, LoopAxes, otherAxes } from "./loopAxes.ts";
import type { Reduction } from "./reductionSpec.ts";
import { launchMerge, launchScan } from "./reductionStages.ts";

/** Up to so many elements one thread takes an output by itself. */
const aloneLimit = 256;
/** The most that a thread adds up one after the other. */
const longestChunk = 1024;
const shortestChunk = 32;
/** Threads that keep a device busy. */
const busyThreads = 65_536;
/** Partial results that one thread merges. */
const mergedAtOnce = 64;

function chunksOf(outputs: number, steps: number): number {
  if (steps <= aloneLimit) return 1;
  const forSpeed = Math.min(Math.ceil(steps / shortestChunk), Math.ceil(busyThreads / Math.max(1, outputs)));
  return Math.max(forSpeed, Math.ceil(steps / longestChunk));
}

/** Runs a reduction; over no elements the slots keep what they start with. */
export function launchReduction(runtime: GpuRuntime, reduction: Reduction): void {
  const { inputs, axes, operands, slots, mayVectorise = false, folded = inputs.length } = reduction;
  const keptAxes = otherAxes(inputs[0].shape.length, axes);
  const kept = new LoopAxes("k", [
    ...inputs.map((view) => axesOf(view, keptAxes)),
    ...operands.map(({ layout }) => layout),
  ]);
  const reducedLayouts = inputs.map((view) => axesOf(view, axes));
  const merged = new LoopAxes("r", reducedLayouts);
  const isVector =
    mayVectorise &&
    merged.rank > 0 &&
    merged.shape[merged.rank - 1] % 4 === 0 &&
    inputs.every(
      ({ offset }, i) =>
        offset % 4 === 0 &&
        LoopAxes.isAligned({ shape: merged.shape, strides: merged.strides[i] }) &&
        kept.strides[i].every((stride) => stride % 4 === 0),
    );
  const reduced = isVector ? new LoopAxes("r", reducedLayouts, { width: 4 }) : merged;
  const chunks = chunksOf(kept.size, reduced.size);
  const buffer = slots.every(({ type }) => type === "f32") ? "f32" : "i32";
  const partialLength = (parts: number) => slots.length * kept.size * parts;
  const scan = (partials: LaunchOperand | null) =>
    launchScan(runtime, reduction, { kept, reduced, isVector, folded, chunks, partials });
  if (chunks === 1) {
    scan(null);
    return;
  }
  runtime.scratch(
    partialLength(chunks),
    (first) => {
      scan({ name: "partial", buffer: first, access: "write" });
      const mergeFrom = (source: typeof first, parts: number): void => {
        const from: LaunchOperand = { name: "partial", buffer: source, access: "read" };
        if (parts <= mergedAtOnce) {
          launchMerge(runtime, reduction, { kept, reduced, parts, left: 1, from, to: null });
          return;
        }
        const left = Math.ceil(parts / (mergedAtOnce / 2));
        runtime.scratch(
          partialLength(left),
          (next) => {
            const to: LaunchOperand = { name: "merged", buffer: next, access: "write" };
            launchMerge(runtime, reduction, { kept, reduced, parts, left, from, to });
            mergeFrom(next, left);
          },
          buffer,
        );
      };
      mergeFrom(first, chunks);
    },
    buffer,
  );
}
