/** Where Node keeps what may be thrown away: the unpacked software adapter, tuned tile sizes. */
import { lstatSync, mkdirSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { isAbsolute, join } from "node:path";

function candidates(): string[] {
  const folders: string[] = [];
  const { XDG_CACHE_HOME } = process.env;
  if (XDG_CACHE_HOME && isAbsolute(XDG_CACHE_HOME)) folders.push(join(XDG_CACHE_HOME, "gradweave"));
  try {
    folders.push(join(homedir(), ".cache", "gradweave"));
  } catch {
    // A user without an entry in the password file has no home.
  }
  folders.push(join(tmpdir(), `gradweave-${process.getuid?.() ?? "cache"}`));
  return folders;
}

/** Whether nobody else could have put something into the folder: libraries are loaded from it. */
export function isOurs(folder: string): boolean {
  const stat = lstatSync(folder, { throwIfNoEntry: false });
  if (!stat?.isDirectory()) return false;
  return process.getuid === undefined || (stat.uid === process.getuid() && (stat.mode & 0o022) === 0);
}

/**
 * A folder of ours that exists: `$XDG_CACHE_HOME/gradweave`, `~/.cache/gradweave`, or one under the system's folder
 * for temporary files when neither can be made.
 *
 * @throws Error when none can be made, or every one belongs to somebody else
 */
export function cacheFolder(): string {
  const tried = candidates();
  for (const folder of tried) {
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
    } catch {
      continue;
    }
    if (isOurs(folder)) return folder;
  }
  throw new Error(
    `cache: none of ${tried.join(", ")} is a folder that only this user can write; ` +
      "set XDG_CACHE_HOME to one that is",
  );
}
