/**
 * What this machine gives WebAssembly at most: the multiply-adds of registers alone, and the bandwidth of a copy.
 * Measured at the beginning and at the end of a run; a ceiling is the highest that was seen.
 */
import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import { z } from "zod";

const Measured = z.object({ mulAdd: z.number(), fused: z.number().nullable(), copy: z.number() });

export interface Ceiling {
  readonly threads: number;
  /** GFLOP/s of f32x4 mul and add. */
  readonly mulAdd: number;
  /** GFLOP/s of the relaxed multiply-add; null where the engine has none. */
  readonly fused: number | null;
  /** GFLOP/s of the same where V8 joins vectors to 256 bits; null where it does not. */
  readonly revectorised: number | null;
  /** GB/s, bytes read and bytes written, 64 MiB of each. */
  readonly copy: number;
}

/** GFLOP/s that kernels are measured by: the highest that this engine reaches. */
export function multiplyAddCeiling({ mulAdd, fused, revectorised }: Ceiling): number {
  return Math.max(mulAdd, fused ?? 0, revectorised ?? 0);
}

async function measure(threads: number, flags: readonly string[]): Promise<z.infer<typeof Measured>> {
  const file = path.join(import.meta.dirname, "ceilingProcess.ts");
  const args = ["--import", "tsx", file, String(threads), ...flags];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return Measured.parse(JSON.parse(stdout));
}

/** Measures once, for every number of threads. */
export async function measureCeilings(threadCounts: readonly number[]): Promise<Ceiling[]> {
  const ceilings: Ceiling[] = [];
  for (const threads of threadCounts) {
    const plain = await measure(threads, []);
    // Node 20's V8 has the flag too, but it breaks code there.
    const hasPairs = Number(process.versions.node.split(".")[0]) >= 24;
    const pairs = hasPairs ? await measure(threads, ["--experimental-wasm-revectorize"]) : undefined;
    const copy = Math.max(plain.copy, pairs?.copy ?? 0);
    ceilings.push({ ...plain, threads, revectorised: pairs?.fused ?? null, copy });
  }
  return ceilings;
}

/** The higher of two measurements, figure by figure. */
export function highest(first: readonly Ceiling[], second: readonly Ceiling[]): Ceiling[] {
  const higher = (a: number | null, b: number | null) =>
    a === null || b === null ? (a ?? b) : Math.max(a, b);
  return first.map((one) => {
    const other = second.find(({ threads }) => threads === one.threads) ?? one;
    return {
      threads: one.threads,
      mulAdd: Math.max(one.mulAdd, other.mulAdd),
      fused: higher(one.fused, other.fused),
      revectorised: higher(one.revectorised, other.revectorised),
      copy: Math.max(one.copy, other.copy),
    };
  });
}
