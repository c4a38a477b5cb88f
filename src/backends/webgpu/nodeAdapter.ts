/** WebGPU in Node: the optional package `webgpu` (Dawn), which adapter it gives, and the software adapter behind it. */
import { warnOnce } from "../cpu/warnOnce.ts";
import { WebGpuUnavailableError } from "./errors.ts";
import type { DeviceOptions } from "./options.ts";
import { hasVulkanLoader, softwareAdapterObstacle, withSoftwareVulkan } from "./softwareAdapter.ts";

type Create = typeof import("webgpu").create;

/**
 * What `create` returned, by its arguments, for the life of the process: if one is collected as garbage while a
 * device lives, Dawn aborts the process.
 */
const instances = new Map<string, GPU>();

/** Opening changes the environment for a moment, so one request runs at a time. */
let lastRequest: Promise<unknown> = Promise.resolve();

async function loadPackage(): Promise<Create> {
  try {
    // Not a literal, or bundlers would put Node's binary into a page.
    const name = "webgpu";
    const { create }: typeof import("webgpu") = await import(/* @vite-ignore */ name);
    return create;
  } catch (cause) {
    const text = String(cause);
    if (text.includes("Cannot find package"))
      throw new WebGpuUnavailableError(
        "Node has no WebGPU without the optional package webgpu",
        "npm install webgpu",
        { cause },
      );
    throw new WebGpuUnavailableError(
      `the package webgpu does not load on ${process.platform} ${process.arch} (${text})`,
      "see its README for what it supports",
      { cause },
    );
  }
}

/** Dawn's switches. Times of kernels are wanted to the nanosecond, not rounded as for untrusted pages. */
function instance(create: Create, kind: "gpu" | "software", robustness: boolean, name?: string): GPU {
  const flags = ["disable-dawn-features=timestamp_quantization"];
  if (!robustness) flags.push("enable-dawn-features=disable_robustness");
  if (name !== undefined) flags.push(`adapter=${name}`);
  const key = [kind, ...flags].join(" ");
  const made = instances.get(key) ?? create(flags);
  instances.set(key, made);
  return made;
}

async function requestGpu(create: Create, options: DeviceOptions, name?: string): Promise<GPUAdapter | null> {
  if (!hasVulkanLoader()) return null;
  const { powerPreference = "high-performance", robustness = true } = options;
  return instance(create, "gpu", robustness, name).requestAdapter({ powerPreference });
}

/** The text is Dawn's: it lists the adapters that there are. */
async function requestNamed(create: Create, options: DeviceOptions, name: string): Promise<GPUAdapter> {
  let cause: unknown;
  try {
    const adapter = await requestGpu(create, options, name);
    if (adapter) return adapter;
  } catch (error) {
    cause = error;
  }
  const found = /Available adapters:.*/s.exec(String(cause))?.[0].replaceAll(/\s+/g, " ").trim();
  throw new WebGpuUnavailableError(
    `no adapter's name contains ${JSON.stringify(name)} (${found ?? "there is none at all"})`,
    'choose one of those, "default" or "software"',
    { cause },
  );
}

async function requestSoftware(create: Create, { robustness = false }: DeviceOptions): Promise<GPUAdapter> {
  const obstacle = softwareAdapterObstacle();
  if (obstacle) throw new WebGpuUnavailableError(obstacle, "npm install --save-dev @sparticuz/chromium@147");
  let cause: unknown;
  try {
    const adapter = await withSoftwareVulkan(() =>
      instance(create, "software", robustness).requestAdapter({ forceFallbackAdapter: true }),
    );
    if (adapter) return adapter;
  } catch (error) {
    cause = error;
  }
  throw new WebGpuUnavailableError(
    `SwiftShader did not start${cause === undefined ? "" : ` (${String(cause)})`}`,
    "check that the cache folder allows libraries to be loaded",
    { cause },
  );
}

async function request(options: DeviceOptions, choice: string): Promise<GPUAdapter> {
  const create = await loadPackage();
  if (choice === "software") return requestSoftware(create, options);
  if (choice !== "default") return requestNamed(create, options, choice);
  const gpu = await requestGpu(create, options);
  if (gpu) return gpu;
  const obstacle = softwareAdapterObstacle();
  if (obstacle)
    throw new WebGpuUnavailableError(
      `no GPU was found, and ${obstacle}`,
      "install the GPU's driver with Vulkan (Linux), or npm install --save-dev @sparticuz/chromium@147",
    );
  const software = await requestSoftware(create, options);
  warnOnce(
    `webgpu: no GPU was found; running on the software adapter (${software.info.description}): right, but slow`,
  );
  return software;
}

/**
 * The adapter that was asked for.
 *
 * @param choice "default", "software" or a part of the adapter's name
 * @throws WebGpuUnavailableError when the package, the adapter or the software adapter is missing
 */
export function requestNodeAdapter(options: DeviceOptions, choice: string): Promise<GPUAdapter> {
  const result = lastRequest.then(() => request(options, choice));
  lastRequest = result.catch(() => undefined);
  return result;
}
