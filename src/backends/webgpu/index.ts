/**
 * The WebGPU backend: device, memory, command stream, and kernels in WGSL. Runs on Dawn in Node and in browsers.
 * May import from the contract beside it and the expression language.
 */
import type { Backend } from "../backend.ts";
import { WebGpuBackend } from "./backend.ts";
import { openDevice } from "./device.ts";
import type { DeviceOptions } from "./options.ts";
import { measureTiles, storedTiles, storeTiles } from "./tuning.ts";

export type { DeviceOptions } from "./options.ts";

export interface WebGpuBackendOptions extends DeviceOptions {
  /** Bytes that tensors may take on the device; default 4 GiB. Drivers promise more than they have. */
  readonly memoryBudget?: number;
  /**
   * Measures which tile sizes are fast on this adapter, unless that was done before, and keeps the answer (a file in
   * the user's cache, or the browser's local storage). Takes seconds on a GPU; does nothing on a software adapter,
   * whose kernels have one size.
   * Default false: what was kept before, else sizes that are good everywhere.
   */
  readonly tune?: boolean;
}

/**
 * Opens a device and makes a backend on it.
 *
 * @throws WebGpuUnavailableError when there is no WebGPU or no such adapter; the text says what to install
 */
export async function createWebGpuBackend(options: WebGpuBackendOptions = {}): Promise<Backend> {
  const { memoryBudget = 4 * 2 ** 30, tune = false, quads = true, ...deviceOptions } = options;
  const open = await openDevice(deviceOptions);
  const backend = new WebGpuBackend(open, memoryBudget, quads);
  const { runtime } = backend;
  const stored = await storedTiles(open.adapter.name);
  if (stored) runtime.tuning = stored;
  else if (tune && !runtime.traits.quads) {
    runtime.tuning = await measureTiles(runtime, open.adapter.software ? 1 : 32);
    await storeTiles(open.adapter.name, runtime.tuning);
  }
  return backend;
}
