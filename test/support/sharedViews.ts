/** Host views in the memory that WebAssembly kernels work on, and results held against stated error bounds. */
import { expect } from "vitest";
import type { HostView } from "../../src/backends/backend.ts";
import { enableRelaxedSimd, webAssembly } from "../../src/backends/cpu/wasm/encoder/index.ts";
import { type RangeFunction, type RangeOptions, WasmRuntime } from "../../src/backends/cpu/wasm/runtime.ts";
import { expectSums, Sum } from "../hostViews.ts";
import { kernelMemory } from "./kernelMemory.ts";

/** Half the distance from 1 to the next f32: the relative error of one rounding. */
export const unit = 2 ** -24;

const relaxed = enableRelaxedSimd();
/** With and, where the engine can, without a rounding between a product and the sum it goes into. */
export const arithmetics = relaxed === "built in" || relaxed === "by flag" ? [false, true] : [false];

/**
 * Cuts every range into pieces, at places that differ from call to call, and does the last piece first, on scratch
 * memory full of NaN: what threads may do, on one.
 */
export class CutRuntime extends WasmRuntime {
  private turn = 0;

  override forRange(
    range: RangeFunction,
    items: number,
    args: readonly number[],
    { scratchBytes = 0 }: RangeOptions = {},
  ): void {
    const scratch = scratchBytes > 0 ? this.scratch("cut range", scratchBytes) : 0;
    const largest = 1 + ((this.turn++ * 7) % 11) * Math.ceil(items / 8);
    for (let end = items; end > 0; ) {
      const begin = Math.max(0, end - 1 - ((end * 5 + this.turn) % largest));
      new Uint8Array(this.memory.memory.buffer, scratch, scratchBytes).fill(0xff);
      range(begin, end, scratch, ...args);
      end = begin;
    }
  }
}

export interface Workplace {
  readonly runtime: WasmRuntime;
  /** Forgets all views made before. */
  clear(): void;
  /** The same view in shared memory, amid NaN. */
  share(view: HostView): HostView;
}

/** @param Runtime the class of the runtime; by default one that cuts every range as threads could */
export function workplace(fused: boolean, Runtime = CutRuntime as typeof WasmRuntime): Workplace {
  if (!webAssembly) throw new Error("this engine has no WebAssembly");
  const memory = kernelMemory();
  const room = memory.allocate("f32", 1 << 21);
  room.fill(Number.NaN);
  let used = 0;
  return {
    runtime: new Runtime(webAssembly, memory, fused),
    clear() {
      room.fill(Number.NaN, 0, used / 4);
      used = 0;
    },
    share(view) {
      // One place after the other without a gap, so that what is read or written beyond a view is another's.
      const bytes = view.data.byteLength;
      if (used + bytes + 64 > room.byteLength)
        throw new Error(`the workplace is full (${used} bytes); clear it before each case`);
      const start = room.byteOffset + used;
      const data =
        view.dtype === "f32"
          ? new Float32Array(room.buffer, start, view.data.length)
          : new Float64Array(room.buffer, start - (start % 8) + 8, view.data.length);
      data.set(view.data);
      used += 8 * Math.ceil((bytes + 16) / 8);
      return { ...view, data };
    },
  };
}

/** Expects every element within its allowance, what is not finite exactly, and nothing written outside the view. */
export function expectWithin(
  output: HostView,
  expected: ArrayLike<number>,
  allowed: ArrayLike<number>,
): void {
  const epsilon = output.dtype === "f32" ? 2 ** -23 : 2 ** -52;
  expectSums(
    output,
    Array.from(expected, (value, i) => {
      const sum = new Sum();
      sum.value = value;
      // The tolerance of expectSums is epsilon * (terms + 4) * size.
      sum.terms = 1 / epsilon - 4;
      sum.size = allowed[i];
      return sum;
    }),
  );
}

/** Kernels that count their calls: what a fast kernel gives to its fallback. */
export function counting<K extends Record<string, (...given: never[]) => void>>(
  kernels: K,
): { readonly kernels: K; calls: number } {
  const counter = { kernels, calls: 0 };
  const wrapped = Object.entries(kernels).map(([name, kernel]) => [
    name,
    (...given: never[]) => {
      counter.calls++;
      kernel(...given);
    },
  ]);
  counter.kernels = Object.fromEntries(wrapped) as K;
  return counter;
}

/** Expects that the fallback ran exactly when it should. */
export function expectCalls(counter: { calls: number }, wanted: boolean, what: string): void {
  const { calls } = counter;
  counter.calls = 0;
  expect(calls, what).toBe(wanted ? 1 : 0);
}
