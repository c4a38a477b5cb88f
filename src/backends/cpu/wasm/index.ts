/**
 * WebAssembly SIMD kernels, emitted at run time. Lives here: the encoder, the shared memory, and in `kernels/` what is
 * faster than the typed-array loops. May import from `backends/` only.
 */
import { loops } from "../loops/index.ts";
import { enableRelaxedSimd, type RelaxedSimd, wasmFeatures, webAssembly } from "./encoder/index.ts";
import { conv2dKernels } from "./kernels/conv2d.ts";
import { planeKernels } from "./kernels/planes.ts";
import { productKernels } from "./kernels/product.ts";
import { WasmRuntime } from "./runtime.ts";
import { SharedMemory } from "./sharedMemory.ts";

/** What the backend runs on when the engine has SIMD and shared memory. */
export interface WasmSupport {
  readonly memory: SharedMemory;
  readonly kernels: ReturnType<typeof conv2dKernels>;
  readonly relaxedSimd: RelaxedSimd;
}

/** Compiles the kernels, or gives null where the engine lacks SIMD or shared memory. */
export function createWasmSupport(): WasmSupport | null {
  const relaxedSimd = enableRelaxedSimd();
  const { simd, threads } = wasmFeatures();
  if (!webAssembly || !simd || !threads) return null;
  const memory = new SharedMemory(webAssembly);
  const runtime = new WasmRuntime(
    webAssembly,
    memory,
    relaxedSimd === "built in" || relaxedSimd === "by flag",
  );
  return {
    memory,
    relaxedSimd,
    kernels: conv2dKernels(runtime, productKernels(runtime), planeKernels(runtime), loops),
  };
}
