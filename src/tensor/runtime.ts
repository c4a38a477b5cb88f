/** Which backend new tensors live on. */
import type { Backend } from "../backends/backend.ts";
import { createCpuBackend, holdWarnings } from "../backends/cpu/index.ts";
import type { MemoryReport } from "../backends/memory.ts";
import type { WebGpuBackendOptions } from "../backends/webgpu/index.ts";

/**
 * Made at once, since V8 takes flags only before it compiles anything; but a setting that cannot be met is an error of
 * the first use, where a command can tell it, and not of the import, and so is a warning: a process that only watches
 * over a command imports the library too.
 */
const cpu = holdWarnings((): { readonly backend: Backend } | { readonly error: unknown } => {
  try {
    return { backend: createCpuBackend() };
  } catch (error) {
    return { error };
  }
});

let current: Backend | null = null;
/** The CPU backend in the other mode than the one made at once (reproducible or not), made when first asked for. */
let otherCpu: Backend | null = null;

function cpuBackend(reproducible?: boolean): Backend {
  cpu.say();
  if ("error" in cpu.result) throw cpu.result.error;
  const { backend } = cpu.result;
  if (reproducible === undefined || backend.info().reproducible === reproducible) return backend;
  otherCpu ??= createCpuBackend({ reproducible });
  return otherCpu;
}

/** The backend that creation functions use. Throws a SettingError when an environment variable cannot be met. */
export function defaultBackend(): Backend {
  current ??= cpuBackend();
  return current;
}

/** Makes `backend` the one that new tensors live on; existing tensors stay where they are. */
export function setDefaultBackend(backend: Backend): void {
  current = backend;
}

/**
 * Makes the CPU or a GPU the place where new tensors live, and returns that backend; existing tensors stay where they
 * are, so call it before the model is made. WebGPU is loaded only now: in Node from the optional package `webgpu`, in
 * a browser from the browser.
 *
 *     await setBackend("webgpu");
 *
 * With `reproducible: true` every op has the same bits on both, at several times the cost; the other options are about
 * WebGPU alone.
 *
 * Throws a WebGpuUnavailableError when there is no WebGPU or no such adapter; its text says what to install.
 */
export async function setBackend(
  name: "cpu" | "webgpu",
  options: WebGpuBackendOptions = {},
): Promise<Backend> {
  if (name !== "cpu" && name !== "webgpu")
    throw new Error(`setBackend: there is no backend "${String(name)}"; choose "cpu" or "webgpu"`);
  if (name === "cpu") current = cpuBackend(options.reproducible);
  else {
    const { createWebGpuBackend } = await import("../backends/webgpu/index.ts");
    current = await createWebGpuBackend(options);
  }
  return defaultBackend();
}

/** Live and peak bytes by class on the default backend. */
export function memoryReport(): MemoryReport {
  return defaultBackend().memoryReport();
}

/** Starts a new peak measurement on the default backend from what is live now. */
export function resetPeakMemory(): void {
  defaultBackend().resetPeakMemory();
}
