/** What a library must offer to stand beside the others, in its own process. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { z } from "zod";
import type { Task } from "./task.ts";

export interface Workload {
  /** Of a network, how many numbers it learns. */
  readonly parameters?: number;
  /** Does the work once, computed to the end. */
  run(): void | Promise<void>;
  /** Does the work once, not timed: squared norms of the results, of a training step its loss. */
  check(): Promise<number[]>;
  dispose(): void;
}

export interface Library {
  readonly version: string;
  /** Rejects with the reason when the library cannot do such work. */
  open(task: Task): Promise<Workload>;
}

/**
 * An optional package of bench/package.json, typed by the few members that its peer uses. The name is not written in
 * the import, so that the project type-checks without the package.
 */
export async function importPeer<T>(name: string): Promise<T> {
  try {
    const module: { default?: T } & T = await import(name);
    return module.default ?? module;
  } catch (cause) {
    const missing = cause instanceof Error && "code" in cause && cause.code === "ERR_MODULE_NOT_FOUND";
    if (missing) throw new Error("not installed; run `npm ci --prefix bench --ignore-scripts`", { cause });
    throw cause;
  }
}

/** The version of a package in bench/node_modules. */
export function installedVersion(name: string): string {
  const file = path.resolve(import.meta.dirname, "../node_modules", name, "package.json");
  return z.object({ version: z.string() }).parse(JSON.parse(readFileSync(file, "utf8"))).version;
}
