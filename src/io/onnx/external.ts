/**
 * Tensors whose data lie in a file beside the model. The path in the model is a stranger's: it must stay within the
 * model's folder, links followed, and name a regular file (onnx has had path traversals here: CVE-2022-25882,
 * CVE-2024-27318).
 */
import { open, realpath, stat } from "node:fs/promises";
import { dirname, isAbsolute, join, sep } from "node:path";
import { FileFormatError } from "../errors.ts";
import type { OnnxModelFile } from "./model.ts";

const error = (name: string, problem: string): FileFormatError =>
  new FileFormatError(`ONNX: tensor ${JSON.stringify(name)} has its data in another file, ${problem}`);

/** A number of bytes, as the entries of external data write it. */
function count(name: string, key: string, text: string | undefined): number | null {
  if (text === undefined) return null;
  if (!/^[0-9]{1,15}$/.test(text))
    throw error(name, `whose ${key} is ${JSON.stringify(text)}, no number of bytes`);
  return Number(text);
}

/** Where the data lie, as a real path in the folder. Throws for paths that lead out of it or to no regular file. */
async function locate(name: string, folder: string, location: string): Promise<string> {
  const written = JSON.stringify(location);
  const parts = location.split(/[\\/]/);
  if (
    location === "" ||
    location.includes("\0") ||
    isAbsolute(location) ||
    /^[A-Za-z]:/.test(location) ||
    parts.includes("..")
  )
    throw error(name, `${written}, which leads out of the model's folder`);
  const root = await realpath(folder);
  let path: string;
  try {
    path = await realpath(join(root, ...parts));
  } catch {
    throw error(name, `${written}, which is not there; keep it beside the .onnx file`);
  }
  if (!path.startsWith(root.endsWith(sep) ? root : root + sep))
    throw error(name, `${written}, a link that leads out of the model's folder`);
  if (!(await stat(path)).isFile()) throw error(name, `${written}, which is no regular file`);
  return path;
}

interface Place {
  readonly path: string;
  readonly offset: number;
  readonly length: number;
  readonly size: number;
}

async function placeOf(name: string, entries: ReadonlyMap<string, string>, folder: string): Promise<Place> {
  const path = await locate(name, folder, entries.get("location") ?? "");
  const { size } = await stat(path);
  const offset = count(name, "offset", entries.get("offset")) ?? 0;
  const length = count(name, "length", entries.get("length")) ?? Math.max(0, size - offset);
  if (offset + length > size)
    throw error(name, `at bytes ${offset} to ${offset + length} of one of ${size} bytes; is it complete?`);
  return { path, offset, length, size };
}

async function readPlace(name: string, { path, offset, length }: Place): Promise<Uint8Array> {
  const handle = await open(path, "r");
  try {
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const { bytesRead } = await handle.read(bytes, done, Math.min(length - done, 2 ** 26), offset + done);
      if (bytesRead === 0) throw error(name, "which was cut while being read");
      done += bytesRead;
    }
    return bytes;
  } finally {
    await handle.close();
  }
}

/**
 * The data of all initializers that lie in other files, by name, for a model that was read from `path`. What several
 * share is read once; all in all no more is read than the files hold.
 */
export async function readExternalData(
  { graph }: OnnxModelFile,
  path: string,
): Promise<ReadonlyMap<string, Uint8Array>> {
  const data = new Map<string, Uint8Array>();
  const known = new Map<string, Uint8Array>();
  const readOf = new Map<string, number>();
  for (const { name, content } of graph.initializers) {
    if (content.kind !== "external") continue;
    const place = await placeOf(name, content.entries, dirname(path));
    const key = `${place.offset} ${place.length} ${place.path}`;
    let bytes = known.get(key);
    if (!bytes) {
      const total = (readOf.get(place.path) ?? 0) + place.length;
      if (total > place.size) throw error(name, "whose stretches overlap; is the model damaged?");
      readOf.set(place.path, total);
      bytes = await readPlace(name, place);
      known.set(key, bytes);
    }
    data.set(name, bytes);
  }
  return data;
}
