/**
 * The CPU backend. Lives here: memory as typed arrays, the loops over them, and the printer of pointwise loops.
 * May import from `backends/` only.
 */

import { isReproducibleWanted } from "../reproducible/setting.ts";
import { CpuBackend } from "./backend.ts";
import { loops } from "./loops/index.ts";
import { runPointwise } from "./pointwise.ts";
import { runReproducibly } from "./reproducible/index.ts";
import { SettingError } from "./settingError.ts";
import { warnOnce } from "./warnOnce.ts";
import { createWasmSupport, type WasmSupport, wasmObstacle } from "./wasm/index.ts";
import { threadCount } from "./wasm/threads/count.ts";

export { CpuBackend } from "./backend.ts";
export { holdWarnings } from "./warnOnce.ts";

export interface CpuOptions {
  /** False refuses WebAssembly: every kernel is a typed-array loop. Default true. */
  readonly wasm?: boolean;
  /**
   * Threads that compute, the main thread among them, from 1 to 128. Results have the same bits for every number.
   * Default: the environment variable GRADWEAVE_THREADS, or what `os.availableParallelism()` says.
   */
  readonly threads?: number;
  /**
   * False sets no experimental V8 flag (relaxed SIMD in Node 20, 256-bit vectors in Node 24), which count for the
   * whole process. Default: true, unless the environment variable GRADWEAVE_V8_FLAGS is `off`.
   */
  readonly v8Flags?: boolean;
  /**
   * True lets tensors take up to 16 GiB, with 64-bit addresses, where the engine has them (Node 24); elsewhere there is
   * one warning, and the 4 GiB of 32-bit ones. Kernels run slower with them: V8 makes no 256-bit vectors of what it
   * loads by 64-bit addresses. A tensor of 2 GiB or more still goes through plain loops. Default: false, unless the
   * environment variable GRADWEAVE_MEMORY64 is 1.
   */
  readonly memory64?: boolean;
  /**
   * True computes every f32 op with the same bits as any other backend in this mode, the WebGPU one included: sums are
   * exact and rounded once, all else is rounded function by function. Ten to a hundred times as slow, on one thread.
   * f64 and integers are computed as always. Default: false, unless the environment variable GRADWEAVE_REPRODUCIBLE is 1.
   */
  readonly reproducible?: boolean;
}

/**
 * A CPU backend with the fastest kernels that the engine can run: WebAssembly SIMD in shared memory, or, with one
 * warning, typed-array loops where the engine lacks either.
 *
 * @throws SettingError when the number of threads is not an integer from 1 to 128, or an environment variable is wrong
 */
export function createCpuBackend(options: CpuOptions = {}): CpuBackend {
  const kernels = { ...loops, pointwise: runPointwise };
  const { reproducible = isReproducibleWanted() } = options;
  const wasm = options.wasm === false ? null : wasmOrWarning(options);
  const mode = reproducible ? { reproducibly: runReproducibly } : {};
  const named = (description: string): string =>
    reproducible ? `${description}, reproducible` : description;
  if (!wasm) return new CpuBackend({ kernels, description: named("typed-array loops"), ...mode });
  const { simd, pool, memory } = wasm;
  return new CpuBackend({
    kernels,
    compiled: wasm.kernels,
    watch: wasm.watch,
    memory,
    ...mode,
    description: named(`WebAssembly SIMD (fused multiply-add ${simd.relaxedSimd})`),
    engine: { threads: pool.threads, simd: simd.level, flags: simd.flags, selfCheck: simd.selfCheck },
  });
}

function isMemory64Wanted(): boolean {
  const text = typeof process === "undefined" ? undefined : process.env?.GRADWEAVE_MEMORY64;
  if (text === undefined || text === "" || text === "0") return false;
  if (text === "1") return true;
  throw new SettingError(`cpu: GRADWEAVE_MEMORY64 is ${JSON.stringify(text)}; it may be 0 or 1`);
}

function wasmOrWarning(options: CpuOptions): WasmSupport | null {
  const { threads, memory64 = isMemory64Wanted(), v8Flags } = options;
  const wasm = createWasmSupport(threadCount(threads), {
    memory64,
    ...(v8Flags !== undefined && { v8Flags }),
  });
  if (!wasm) warnOnce(`${wasmObstacle()}; the CPU backend runs plain loops, many times slower`);
  return wasm;
}
