/**
 * The CPU backend. Lives here: memory as typed arrays, the loops over them, and the printer of pointwise loops.
 * May import from `backends/` only.
 */
import { CpuBackend } from "./backend.ts";
import { loops } from "./loops/index.ts";
import { runPointwise } from "./pointwise.ts";
import { createWasmSupport } from "./wasm/index.ts";
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
}

/**
 * A CPU backend with the fastest kernels that the engine can run: WebAssembly SIMD in shared memory, or, with one
 * warning, typed-array loops where the engine lacks either.
 *
 * @throws RangeError when the number of threads is not an integer from 1 to 128
 */
export function createCpuBackend({ wasm: wanted = true, threads }: CpuOptions = {}): CpuBackend {
  const kernels = { ...loops, pointwise: runPointwise };
  const wasm = wanted ? createWasmSupport(threadCount(threads)) : null;
  if (wasm) {
    const description = `WebAssembly SIMD (fused multiply-add ${wasm.relaxedSimd})`;
    return new CpuBackend({
      kernels: { ...kernels, ...wasm.kernels },
      memory: wasm.memory,
      description,
      threads: wasm.pool.threads,
    });
  }
  if (wanted)
    console.warn(
      "gradweave: this engine has no WebAssembly SIMD with shared memory, training runs many times slower; " +
        "use Node 20 or newer, or in a browser a cross-origin isolated page (COOP and COEP headers)",
    );
  return new CpuBackend({ kernels, description: "typed-array loops" });
}
