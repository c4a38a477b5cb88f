/** Freed memory full of NaN, for tests of kernels that must not read what they did not write. */
import { afterAll, beforeAll } from "vitest";
import { CpuBackend } from "../../src/backends/cpu/index.ts";
import { defaultBackend } from "../../src/index.ts";

/** Poisons what the default backend frees while the tests of the calling file run. */
export function poisonFreedMemory(): void {
  const backend = defaultBackend();
  const poison = (wanted: boolean) => () => {
    if (backend instanceof CpuBackend) backend.poison = wanted;
  };
  beforeAll(poison(true));
  afterAll(poison(false));
}
