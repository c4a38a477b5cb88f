/**
 * WebAssembly SIMD kernels, emitted at run time. Lives here: the encoder, the shared memory, and in `kernels/` what is
 * faster than the typed-array loops. May import from `backends/` only.
 */
import type { HostKernelSet } from "../../backend.ts";
import { loops } from "../loops/index.ts";
import { runPointwise } from "../pointwise.ts";
import { enableRelaxedSimd, type RelaxedSimd, wasmFeatures, webAssembly } from "./encoder/index.ts";
import { assignAllKernels } from "./kernels/assignAll.ts";
import { batchNormKernels } from "./kernels/batchNorm.ts";
import { conv2dKernels } from "./kernels/convolution/index.ts";
import { copyKernels } from "./kernels/copy.ts";
import { gatherKernels } from "./kernels/gather.ts";
import { matmulKernel } from "./kernels/matmul.ts";
import { maxKernels } from "./kernels/max.ts";
import { planeKernels } from "./kernels/planes.ts";
import { pointwiseKernel } from "./kernels/pointwise.ts";
import { poolKernels } from "./kernels/pool.ts";
import { slidingPoolKernels } from "./kernels/poolSliding.ts";
import { reduceKernels } from "./kernels/reduce.ts";
import { resizeKernels } from "./kernels/resize.ts";
import { softmaxKernels } from "./kernels/softmax.ts";
import { sumKernels } from "./kernels/sums.ts";
import { WasmRuntime } from "./runtime.ts";
import { SharedMemory } from "./sharedMemory.ts";
import type { ThreadPool } from "./threads/pool.ts";

/** What the backend runs on when the engine has SIMD and shared memory. */
export interface WasmSupport {
  readonly memory: SharedMemory;
  readonly kernels: HostKernelSet;
  readonly pool: ThreadPool;
  readonly relaxedSimd: RelaxedSimd;
}

/** The kernels, compiled for a runtime: those for which the loops of `backends/cpu/loops` are not the fastest. */
export function wasmKernels(runtime: WasmRuntime) {
  const [planes, sums] = [planeKernels(runtime), sumKernels(runtime)];
  const convolutions = conv2dKernels(runtime, planes, loops);
  return {
    ...batchNormKernels(runtime, sums, loops),
    ...copyKernels(runtime, planes, loops),
    ...reduceKernels(runtime, sums, loops),
    ...poolKernels(runtime, planes, sums, { ...loops, ...slidingPoolKernels(runtime, loops) }),
    ...convolutions,
    matmul: matmulKernel(runtime, convolutions, planes, loops.matmul),
    ...maxKernels(runtime),
    ...softmaxKernels(runtime),
    ...resizeKernels(runtime),
    ...gatherKernels(runtime),
    ...assignAllKernels(runtime, loops),
    pointwise: pointwiseKernel(runtime, runPointwise),
  } satisfies HostKernelSet;
}

/**
 * The memory, the threads and the kernels, or null where the engine lacks SIMD or shared memory.
 *
 * @param threads how many kernels may use, the main thread among them
 */
export function createWasmSupport(threads = 1): WasmSupport | null {
  const relaxedSimd = enableRelaxedSimd();
  const features = wasmFeatures();
  if (!webAssembly || !features.simd || !features.threads) return null;
  const memory = new SharedMemory(webAssembly);
  const fused = relaxedSimd === "built in" || relaxedSimd === "by flag";
  const runtime = new WasmRuntime(webAssembly, memory, fused, threads);
  return { memory, pool: runtime.pool, relaxedSimd, kernels: wasmKernels(runtime) };
}
