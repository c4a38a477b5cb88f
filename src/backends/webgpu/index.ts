/**
 * The WebGPU backend: device, memory, command stream, and kernels in WGSL. Runs on Dawn in Node and in browsers.
 * May import from the contract beside it and the expression language.
 */
import type { Backend } from "../backend.ts";
import { isReproducibleWanted } from "../reproducible/setting.ts";
import { WebGpuBackend } from "./backend.ts";
import { type OpenDevice, openDevice } from "./device.ts";
import { WebGpuUnavailableError } from "./errors.ts";
import type { DeviceOptions } from "./options.ts";
import { wrongArithmetic } from "./reproducible/selfCheck.ts";
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

/** Closes the device again, and throws, where it cannot have the bits of reproducible mode. */
async function checkReproducible(open: OpenDevice, backend: WebGpuBackend): Promise<void> {
  if (open.f16) {
    open.close();
    throw new Error(
      "webgpu: f16 rounds maps to half precision, which no other backend does; ask for f16 or reproducible, not both",
    );
  }
  const wrong = await wrongArithmetic(backend);
  if (wrong.length === 0) return;
  open.close();
  throw new WebGpuUnavailableError(
    `${open.adapter.name} cannot be reproducible: its compiler or its hardware rounds otherwise (${wrong.join(", ")})`,
    "leave reproducible out, choose another adapter",
  );
}

/**
 * Opens a device and makes a backend on it.
 *
 * @throws WebGpuUnavailableError when there is no WebGPU or no such adapter, or when `reproducible` was asked for and the
 * adapter's arithmetic does not allow it; the text says what to do. Error when `f16` was asked for as well
 */
export async function createWebGpuBackend(options: WebGpuBackendOptions = {}): Promise<Backend> {
  const { memoryBudget = 4 * 2 ** 30, tune = false, quads = true, ...deviceOptions } = options;
  const { reproducible = isReproducibleWanted() } = options;
  const open = await openDevice(deviceOptions);
  const backend = new WebGpuBackend(open, memoryBudget, quads, reproducible);
  if (reproducible) await checkReproducible(open, backend);
  const { runtime } = backend;
  const stored = await storedTiles(open.adapter.name);
  if (stored) runtime.tuning = stored;
  else if (tune && !runtime.traits.quads) {
    runtime.tuning = await measureTiles(runtime, open.adapter.software ? 1 : 32);
    await storeTiles(open.adapter.name, runtime.tuning);
  }
  return backend;
}
