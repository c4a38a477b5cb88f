/**
 * The CPU backend. Lives here: memory as typed arrays, the loops over them, and the printer of pointwise loops.
 * May import from `backends/` only.
 */
import { CpuBackend } from "./backend.ts";
import { loops } from "./loops/index.ts";
import { runPointwise } from "./pointwise.ts";

export { CpuBackend } from "./backend.ts";

/** A CPU backend with every loop there is. */
export function createCpuBackend(): CpuBackend {
  return new CpuBackend({ kernels: { ...loops, pointwise: runPointwise } });
}
