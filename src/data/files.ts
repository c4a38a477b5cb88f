/** Reading files and folders that a user named, with errors that say what to do instead of bare system codes. */
import { readdir, readFile, stat } from "node:fs/promises";
import { DataError } from "./errors.ts";

/** Node cannot read more into one buffer; also the bound for what a compressed file may unpack to. */
export const largestFile = 2 ** 31 - 1;

/** The whole content of a regular file. Throws a DataError; never waits on a pipe or a device. */
export async function readWholeFile(path: string): Promise<Uint8Array> {
  const status = await orDataError(path, () => stat(path));
  if (status.isDirectory()) throw new DataError(`${path}: is a folder; give the path of a file in it`);
  if (!status.isFile()) throw new DataError(`${path}: is not a regular file; copy the data into one`);
  if (status.size > largestFile) {
    throw new DataError(`${path}: has ${status.size} bytes, more than 2 GiB; split it into smaller files`);
  }
  return orDataError(path, () => readFile(path));
}

/** The names in a folder, sorted. Throws a DataError. */
export async function listFolder(path: string): Promise<readonly string[]> {
  const status = await orDataError(path, () => stat(path));
  if (!status.isDirectory())
    throw new DataError(`${path}: is not a folder; give the folder that holds the files`);
  return (await orDataError(path, () => readdir(path))).sort();
}

async function orDataError<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
    if (code === "ENOENT" || code === "ENOTDIR") {
      throw new DataError(`${path}: does not exist; check the spelling, or download the data there`, {
        cause,
      });
    }
    if (code === "EACCES" || code === "EPERM") {
      throw new DataError(`${path}: may not be read; check its permissions`, { cause });
    }
    throw new DataError(`${path}: cannot be read (${String(code ?? cause)}); try another copy or disk`, {
      cause,
    });
  }
}
