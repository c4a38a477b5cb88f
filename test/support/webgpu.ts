/**
 * WebGPU for tests: the software adapter, the same on every machine. It is loaded when a file's first device is
 * opened, in that file's own process, so that tests without WebGPU pay nothing.
 */
import { createRequire } from "node:module";
import type { DeviceOptions } from "../../src/backends/webgpu/options.ts";
import { softwareAdapterObstacle } from "../../src/backends/webgpu/softwareAdapter.ts";

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
  if (reason === null) return { adapter: "software" };
  if (process.env.GRADWEAVE_REQUIRE_WEBGPU === "1")
    throw new Error(`GRADWEAVE_REQUIRE_WEBGPU is 1, but ${reason}`);
  console.warn(`WebGPU tests are skipped: ${reason}`);
  return null;
}
