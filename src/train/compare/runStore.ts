/**
 * Finished runs on disk, one file each, so that a comparison that was killed goes on where it was: a file is there whole
 * or not at all, and one that was made under other settings is not taken for this comparison's.
 */
import { createHash } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { writeFilesAtomically } from "../../io/atomicFiles.ts";
import { type SeedResult, seedResultShape } from "./seedResult.ts";

const formatVersion = 1;

const stored = z.strictObject({
  format: z.literal("gradweave comparison run"),
  version: z.literal(formatVersion),
  /** Of everything that decides the result. */
  fingerprint: z.string(),
  variant: z.string(),
  result: seedResultShape,
});

/** Which run: everything that its numbers depend on. */
export interface RunKey {
  readonly variant: string;
  readonly seed: number;
  readonly settings: object;
}

function fingerprintOf({ variant, seed, settings }: RunKey): string {
  return createHash("sha256").update(JSON.stringify({ variant, seed, settings })).digest("hex").slice(0, 16);
}

/** A folder of finished runs. */
export class RunStore {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** A finished run, or null when there is none under exactly this key, or its file is damaged. */
  async load(key: RunKey): Promise<SeedResult | null> {
    let text: string;
    try {
      text = await readFile(this.#path(key), "utf8");
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
      throw error;
    }
    const parsed = stored.safeParse(parseJson(text));
    if (!parsed.success || parsed.data.fingerprint !== fingerprintOf(key)) return null;
    return parsed.data.variant === key.variant ? parsed.data.result : null;
  }

  /** Keeps a finished run. Throws the file system's error. */
  async save(key: RunKey, result: SeedResult): Promise<void> {
    await mkdir(this.#folder, { recursive: true });
    const content = {
      format: "gradweave comparison run",
      version: formatVersion,
      fingerprint: fingerprintOf(key),
      variant: key.variant,
      result,
    };
    await writeFilesAtomically(new Map([[this.#path(key), `${JSON.stringify(content)}\n`]]));
  }

  #path(key: RunKey): string {
    const readable = key.variant.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "");
    return join(this.#folder, `${readable}-seed${key.seed}-${fingerprintOf(key)}.json`);
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
