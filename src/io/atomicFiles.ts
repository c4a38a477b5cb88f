/** Writing result files so that a reader finds the old content or the complete new one, never half of it. */
import { open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

let counter = 0;

/**
 * Writes one file piece by piece, as `fill` calls `write`, with the promise of `writeFilesAtomically`: what is complete
 * and on the disk takes the path's name, anything else leaves the old file as it was. Throws the file system's error,
 * and what `fill` throws.
 */
export async function writeFileAtomically(
  path: string,
  fill: (write: (bytes: Uint8Array) => Promise<void>) => Promise<void>,
): Promise<void> {
  counter += 1;
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.${counter}.tmp`);
  try {
    const file = await open(temporary, "wx");
    try {
      await fill(async (bytes) => {
        for (let done = 0; done < bytes.byteLength; ) {
          const { bytesWritten } = await file.write(bytes, done, bytes.byteLength - done);
          done += bytesWritten;
        }
      });
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
}

/**
 * Writes several files that belong together. Each goes to a temporary file beside its target and onto the disk first,
 * and only when all are there do they take their names: a full disk or a crash leaves the old files as they were.
 * Throws the file system's error.
 */
export async function writeFilesAtomically(files: ReadonlyMap<string, string | Uint8Array>): Promise<void> {
  const waiting = new Map<string, string>();
  try {
    for (const [path, content] of files) {
      const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
      waiting.set(temporary, path);
      const file = await open(temporary, "w");
      try {
        await file.writeFile(content);
        await file.sync();
      } finally {
        await file.close();
      }
    }
    for (const [temporary, path] of waiting) {
      await rename(temporary, path);
      waiting.delete(temporary);
    }
  } finally {
    for (const temporary of waiting.keys()) await rm(temporary, { force: true });
  }
}
