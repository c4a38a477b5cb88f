/**
 * WebGPU for tests: the software adapter, the same on every machine, unless GRADWEAVE_WEBGPU_ADAPTER names another one.
 * It is loaded when a file's first device is opened, in that file's own process, so that tests without WebGPU pay
 * nothing.
 */
import { createRequire } from "node:module";
import type { DType } from "../../src/backends/dtype.ts";
import { createWebGpuBackend } from "../../src/backends/webgpu/index.ts";
import type { DeviceOptions } from "../../src/backends/webgpu/options.ts";
import { softwareAdapterObstacle } from "../../src/backends/webgpu/softwareAdapter.ts";
import { type Tensor, tensor } from "../../src/index.ts";

function obstacle(): string | null {
  const found = softwareAdapterObstacle();
  if (found) return found;
  try {
    createRequire(import.meta.url).resolve("webgpu");
    return null;
  } catch {
    return "the optional package webgpu is not installed";
  }
}

/**
 * The options that open the software adapter, or null, with the reason printed, where it cannot run: skip then.
 *
 * @throws Error instead of null when GRADWEAVE_REQUIRE_WEBGPU is 1, so that a continuous build cannot skip unnoticed
 */
export function softwareWebGpu(): DeviceOptions | null {
  const reason = obstacle();
  if (reason === null) return { adapter: "software", f16: false };
  if (process.env.GRADWEAVE_REQUIRE_WEBGPU === "1")
    throw new Error(`GRADWEAVE_REQUIRE_WEBGPU is 1, but ${reason}`);
  console.warn(`WebGPU tests are skipped: ${reason}`);
  return null;
}

/**
 * The options that open the adapter which GRADWEAVE_WEBGPU_ADAPTER names, so that another driver's WGSL can be held to
 * the same tests; without it, those of `softwareWebGpu`.
 */
export function webGpuUnderTest(): DeviceOptions | null {
  const adapter = process.env.GRADWEAVE_WEBGPU_ADAPTER;
  return adapter ? { adapter, f16: false } : softwareWebGpu();
}

/** Makes tensors on a device of its own. Without options, in tests that are skipped, it is there and cannot be used. */
export async function tensorsOnDevice(
  options: DeviceOptions | null,
): Promise<(values: Float32Array | readonly number[], shape: readonly number[], dtype?: DType) => Tensor> {
  const backend = options ? await createWebGpuBackend(options) : null;
  return (values, shape, dtype = "f32") => {
    if (!backend) throw new Error("no device");
    return tensor(values, { shape, dtype, backend });
  };
}
