/**
 * WebAssembly SIMD kernels, emitted at run time. Lives here: the encoder, the shared memory, and in `kernels/` what is
 * faster than the typed-array loops. May import from `backends/` only.
 */
import type { HostKernelSet } from "../../backend.ts";
import type { KernelWatch } from "../backend.ts";
import { loops as plainLoops } from "../loops/index.ts";
import { runPointwise } from "../pointwise.ts";
import { warnOnce } from "../warnOnce.ts";
import {
  type AddressType,
  hasMemory64,
  type WebAssemblyEngine,
  wasmFeatures,
  webAssembly,
} from "./encoder/index.ts";
import { assignAllKernels } from "./kernels/assignAll.ts";
import { batchNormKernels } from "./kernels/batchNorm.ts";
import { channelKernels } from "./kernels/channels.ts";
import { conv2dReluKernels } from "./kernels/conv2dRelu.ts";
import { conv2dKernels } from "./kernels/convolution/index.ts";
import { copyKernels } from "./kernels/copy.ts";
import { dropoutMaskKernels } from "./kernels/dropoutMask.ts";
import { gatherKernels } from "./kernels/gather.ts";
import { matmulKernel } from "./kernels/matmul.ts";
import { maxKernels } from "./kernels/max.ts";
import { normReluKernels } from "./kernels/normRelu.ts";
import { planeKernels } from "./kernels/planes.ts";
import { pointwiseKernel } from "./kernels/pointwise.ts";
import { poolKernels } from "./kernels/pool.ts";
import { slidingPoolKernels } from "./kernels/poolSliding.ts";
import { reduceKernels } from "./kernels/reduce.ts";
import { resizeKernels } from "./kernels/resize.ts";
import { runningStatisticsKernel } from "./kernels/runningStatistics.ts";
import { softmaxKernels } from "./kernels/softmax.ts";
import { sumKernels } from "./kernels/sums.ts";
import { WasmRuntime } from "./runtime.ts";
import { maxPages, SharedMemory } from "./sharedMemory.ts";
import { type SimdOptions, type SimdSetup, setUpSimd } from "./simd.ts";
import type { ThreadPool } from "./threads/pool.ts";

/** What the backend runs on when the engine has SIMD and shared memory. */
export interface WasmSupport {
  readonly memory: SharedMemory;
  readonly kernels: HostKernelSet;
  /** To be told of every kernel that runs: whose memory it touches decides beside which others it may. */
  readonly watch: KernelWatch;
  readonly pool: ThreadPool;
  readonly simd: SimdSetup;
}

/** The same functions, each of which waits until nobody else uses the memory. */
function settling<Loops extends object>(runtime: WasmRuntime, loops: Loops): Loops {
  return new Proxy(loops, {
    get(target, name) {
      const loop: unknown = Reflect.get(target, name);
      if (typeof loop !== "function") return loop;
      return (...call: readonly unknown[]): unknown => {
        runtime.settle();
        return Reflect.apply(loop, undefined, call);
      };
    },
  });
}

/** The kernels, compiled for a runtime: those for which the loops of `backends/cpu/loops` are not the fastest. */
export function wasmKernels(runtime: WasmRuntime): HostKernelSet {
  const { pointwise: pointwiseLoop, ...loops } = settling(runtime, {
    ...plainLoops,
    pointwise: runPointwise,
  });
  const [planes, sums] = [planeKernels(runtime), sumKernels(runtime)];
  const channels = channelKernels(runtime);
  const convolutions = conv2dKernels(runtime, planes, channels, loops);
  const resizes = resizeKernels(runtime);
  return {
    ...batchNormKernels(runtime, sums, channels, loops),
    ...normReluKernels(runtime, channels),
    ...copyKernels(runtime, planes, loops),
    ...reduceKernels(runtime, sums, loops),
    ...poolKernels(runtime, planes, sums, resizes, { ...loops, ...slidingPoolKernels(runtime, loops) }),
    ...convolutions,
    ...conv2dReluKernels(runtime, convolutions.conv2d),
    matmul: matmulKernel(runtime, convolutions, planes, loops.matmul),
    ...maxKernels(runtime),
    ...softmaxKernels(runtime),
    ...resizes,
    ...gatherKernels(runtime),
    ...assignAllKernels(runtime, loops),
    ...dropoutMaskKernels(runtime),
    runningStatistics: runningStatisticsKernel(runtime),
    pointwise: pointwiseKernel(runtime, pointwiseLoop),
  };
}

/** Shares of all addresses, where the system has no 4 GiB of them to give, or 16 GiB. */
const shares = [1, 1 / 2, 1 / 4];

function createMemory(engine: WebAssemblyEngine, address: AddressType): SharedMemory | null {
  for (const share of shares)
    try {
      return new SharedMemory(engine, share * maxPages[address], address);
    } catch {
      // A process may be limited to less (`ulimit -v`).
    }
  return null;
}

interface WasmOptions extends Pick<SimdOptions, "v8Flags"> {
  /** True for memory with 64-bit addresses; where there can be none, one warning, and 32 bits. Default false. */
  readonly memory64?: boolean;
}

/**
 * The memory, the threads and the kernels, or null: `wasmObstacle` says why.
 *
 * @param threads how many kernels may use, the main thread among them
 * @throws RangeError when GRADWEAVE_V8_FLAGS is neither `on` nor `off`
 */
export function createWasmSupport(threads = 1, options: WasmOptions = {}): WasmSupport | null {
  const features = wasmFeatures();
  if (!webAssembly || !features.simd || !features.threads) return null;
  const { memory64 = false, ...simdOptions } = options;
  if (memory64) {
    const canHave = hasMemory64();
    const support = canHave ? supportOn("i64", webAssembly, threads, simdOptions) : null;
    if (support) return support;
    const reason = canHave
      ? "the system gives no 64-bit WebAssembly memory to this process (see ulimit -v)"
      : "this engine has no 64-bit WebAssembly memory (Node 24 has)";
    warnOnce(`${reason}; the CPU backend stays within 4 GiB`);
  }
  return supportOn("i32", webAssembly, threads, simdOptions);
}

function supportOn(
  address: AddressType,
  engine: WebAssemblyEngine,
  threads: number,
  options: SimdOptions,
): WasmSupport | null {
  const simd = setUpSimd(engine, { ...options, address });
  const memory = simd.selfCheck === "passed" ? createMemory(engine, address) : null;
  if (!memory) return null;
  const runtime = new WasmRuntime(engine, memory, simd.fused, threads, simd.revectorised);
  return { memory, pool: runtime.pool, simd, kernels: wasmKernels(runtime), watch: runtime };
}

/** What keeps the kernels from running here, and what would help. */
export function wasmObstacle(): string {
  const features = wasmFeatures();
  if (!webAssembly) return "this engine has no WebAssembly (node --jitless takes it away)";
  if (!features.simd) return "this engine has no WebAssembly SIMD (Node 20 has, and browsers since 2023)";
  if (!features.threads)
    return "SharedArrayBuffer is missing (a browser has it on pages served with COOP and COEP headers)";
  return "the self-check of WebAssembly SIMD failed, or there was no memory for it";
}
