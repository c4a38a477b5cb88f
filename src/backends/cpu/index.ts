/**
 * The CPU backend. Lives here: memory as typed arrays, the loops over them, and the printer of pointwise loops.
 * May import from `backends/` only.
 */
import { CpuBackend } from "./backend.ts";
import { loops } from "./loops/index.ts";
import { runPointwise } from "./pointwise.ts";
import { warnOnce } from "./warnOnce.ts";
import { createWasmSupport, type WasmSupport, wasmObstacle } from "./wasm/index.ts";
import { threadCount } from "./wasm/threads/count.ts";

export { CpuBackend } from "./backend.ts";

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
}

/**
 * A CPU backend with the fastest kernels that the engine can run: WebAssembly SIMD in shared memory, or, with one
 * warning, typed-array loops where the engine lacks either.
 *
 * @throws SettingError when the number of threads is not an integer from 1 to 128, or an environment variable is wrong
 */
export function createCpuBackend(options: CpuOptions = {}): CpuBackend {
  const kernels = { ...loops, pointwise: runPointwise };
  const wasm = options.wasm === false ? null : wasmOrWarning(options);
  if (!wasm) return new CpuBackend({ kernels, description: "typed-array loops" });
  const { simd, pool, memory } = wasm;
  return new CpuBackend({
    kernels: { ...kernels, ...wasm.kernels },
    memory,
    description: `WebAssembly SIMD (fused multiply-add ${simd.relaxedSimd})`,
    engine: { threads: pool.threads, simd: simd.level, flags: simd.flags, selfCheck: simd.selfCheck },
  });
}

function wasmOrWarning({ threads, ...options }: CpuOptions): WasmSupport | null {
  const wasm = createWasmSupport(threadCount(threads), options);
  if (!wasm) warnOnce(`${wasmObstacle()}; the CPU backend runs plain loops, many times slower`);
  return wasm;
}
