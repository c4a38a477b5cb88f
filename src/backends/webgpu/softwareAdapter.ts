/**
 * WebGPU for machines without a GPU, from npm alone: the package `@sparticuz/chromium` carries SwiftShader, a Vulkan
 * device that computes on the processor, and the Vulkan loader. They are unpacked once into a cache folder and put in
 * front of whatever the machine has: no root, no system package, no LD_LIBRARY_PATH. Node on Linux only.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { constants } from "node:os";
import { basename, dirname, join } from "node:path";
import { isMainThread } from "node:worker_threads";
import { brotliDecompressSync } from "node:zlib";
import { cacheFolder, isOurs } from "./cacheFolder.ts";

const packageName = "@sparticuz/chromium";
const archive = join("bin", "swiftshader.tar.br");
const loader = "libvulkan.so.1";
const driverFile = "vk_swiftshader_icd.json";
const wanted: readonly string[] = ["libvk_swiftshader.so", loader, driverFile];
/** The unpacked archive has 7 MB; more than this is not the archive that we know. */
const maxUnpackedBytes = 64 << 20;

/** The archive inside the installed package, or null when it is not installed. */
function findArchive(): string | null {
  let folder: string;
  try {
    const require = createRequire(import.meta.url);
    folder = dirname(require.resolve("@sparticuz/chromium"));
  } catch {
    return null;
  }
  while (!existsSync(join(folder, archive))) {
    if (dirname(folder) === folder) return null;
    folder = dirname(folder);
  }
  return join(folder, archive);
}

/** Why the software adapter cannot be used here, or null when it can. */
export function softwareAdapterObstacle(): string | null {
  if (process.platform !== "linux" || process.arch !== "x64")
    return `the software adapter exists for Linux on x64, this is ${process.platform} on ${process.arch}`;
  if (!isMainThread) return "the software adapter can only be opened on the main thread";
  return findArchive() ? null : `the software adapter comes with the package ${packageName}, not installed`;
}

/** The regular files of a tar archive (512-byte headers; name at 0, size in octal at 124). */
function* tarFiles(tar: Buffer): Generator<{ readonly name: string; readonly bytes: Buffer }> {
  for (let at = 0; at + 512 <= tar.length && tar[at] !== 0; ) {
    const name = tar.toString("utf8", at, at + 100).replace(/\0.*$/s, "");
    const size = Number.parseInt(tar.toString("ascii", at + 124, at + 135), 8);
    yield { name: basename(name), bytes: tar.subarray(at + 512, at + 512 + size) };
    at += 512 + Math.ceil(size / 512) * 512;
  }
}

function isComplete(folder: string): boolean {
  return isOurs(folder) && wanted.every((file) => existsSync(join(folder, file)));
}

/**
 * The folder with SwiftShader and the loader, named by the archive's hash. It appears as a whole or not at all,
 * whatever number of processes want it at once.
 */
function unpack(archivePath: string): string {
  const packed = readFileSync(archivePath);
  const hash = createHash("sha256").update(packed).digest("hex").slice(0, 16);
  const folder = join(cacheFolder(), `swiftshader-${hash}`);
  if (isComplete(folder)) return folder;
  const building = mkdtempSync(`${folder}.`);
  try {
    const found = new Set<string>();
    for (const { name, bytes } of tarFiles(
      brotliDecompressSync(packed, { maxOutputLength: maxUnpackedBytes }),
    )) {
      if (!wanted.includes(name)) continue;
      writeFileSync(join(building, name), bytes, { mode: 0o700 });
      found.add(name);
    }
    const missing = wanted.filter((name) => !found.has(name));
    if (missing.length > 0)
      throw new Error(`webgpu: ${archivePath} has no ${missing.join(", ")}; install ${packageName} 147`);
    // A folder that is there and incomplete was half deleted by something that cleans up old files.
    if (existsSync(folder) && !isComplete(folder)) rmSync(folder, { recursive: true, force: true });
    renameSync(building, folder);
  } catch (error) {
    rmSync(building, { recursive: true, force: true });
    // Another process was first.
    if (!isComplete(folder)) throw error;
  }
  return folder;
}

/** Loads a shared library and keeps it; returns why it could not be, or null. */
function keepLoaded(library: string): string | null {
  // Node closes what turns out to be no addon; with this flag of the C library it stays, and Dawn's own
  // dlopen("libvulkan.so.1") then finds it by its name.
  const stayLoaded = 0x1000;
  try {
    process.dlopen({ exports: {} }, library, constants.dlopen.RTLD_NOW | stayLoaded);
  } catch (error) {
    const text = String(error);
    // The complaint that it is no addon comes after loading. Compared as text: under vitest it is another realm's Error.
    return text.includes("did not self-register") ? null : text;
  }
  return null;
}

/** Whether this machine has a Vulkan loader. Where it has none, Dawn would print a warning of its own when asked. */
export function hasVulkanLoader(): boolean {
  return process.platform !== "linux" || keepLoaded(loader) === null;
}

/**
 * Runs `request` while Vulkan sees SwiftShader and no other device. The environment is as before afterwards, so that
 * a later request finds the machine's own GPU and child processes are not affected.
 *
 * @throws Error when the files cannot be unpacked or loaded; `softwareAdapterObstacle` says what is missing before
 */
export async function withSoftwareVulkan<Result>(request: () => Promise<Result>): Promise<Result> {
  const archivePath = findArchive();
  if (!archivePath) throw new Error(`webgpu: the package ${packageName} is not installed`);
  const folder = unpack(archivePath);
  const before = {
    VK_DRIVER_FILES: process.env.VK_DRIVER_FILES,
    VK_ICD_FILENAMES: process.env.VK_ICD_FILENAMES,
  };
  for (const name of Object.keys(before)) process.env[name] = join(folder, driverFile);
  try {
    const complaint = keepLoaded(join(folder, loader));
    if (complaint) throw new Error(`webgpu: cannot load ${join(folder, loader)}: ${complaint}`);
    return await request();
  } finally {
    for (const [name, value] of Object.entries(before)) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}
