/**
 * The WebGPU backend: device, memory, command stream, and kernels in WGSL. Runs on Dawn in Node and in browsers.
 * May import from the contract beside it and the expression language.
 */
import type { Backend } from "../backend.ts";
import { WebGpuBackend } from "./backend.ts";
import { openDevice } from "./device.ts";
import type { DeviceOptions } from "./options.ts";

export { DeviceError, DeviceLostError, WebGpuUnavailableError } from "./errors.ts";
export type { DeviceOptions } from "./options.ts";

export interface WebGpuBackendOptions extends DeviceOptions {
  /** Bytes that tensors may take on the device; default 4 GiB. Drivers promise more than they have. */
  readonly memoryBudget?: number;
}

/**
 * Opens a device and makes a backend on it.
 *
 * @throws WebGpuUnavailableError when there is no WebGPU or no such adapter; the text says what to install
 */
export async function createWebGpuBackend(options: WebGpuBackendOptions = {}): Promise<Backend> {
  const { memoryBudget = 4 * 2 ** 30, ...device } = options;
  return new WebGpuBackend(await openDevice(device), memoryBudget);
}
