/** Which backend new tensors live on. */
import type { Backend } from "../backends/backend.ts";
import { createCpuBackend } from "../backends/cpu/index.ts";
import type { MemoryReport } from "../backends/memory.ts";

let current: Backend = createCpuBackend();

/** The backend that creation functions use. */
export function defaultBackend(): Backend {
  return current;
}

/** Makes `backend` the one that new tensors live on; existing tensors stay where they are. */
export function setDefaultBackend(backend: Backend): void {
  current = backend;
}

/** Live and peak bytes by class on the default backend. */
export function memoryReport(): MemoryReport {
  return current.memoryReport();
}

/** Starts a new peak measurement on the default backend from what is live now. */
export function resetPeakMemory(): void {
  current.resetPeakMemory();
}
