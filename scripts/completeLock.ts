/**
 * `npm run lock:complete`: run it after `npm install` changed the lock from a mirror of the registry that lacks the
 * binaries of some platforms. npm leaves those optional packages out of package-lock.json, and `npm ci` then refuses
 * the lock ("Missing: @biomejs/cli-darwin-x64@ from lock file"), even on the platforms that were there.
 *
 * It adds an entry for each, with the version its parent pins and the platform its name states, so that every
 * platform but its own skips it. Such an entry has no integrity hash; `npm install` from the full registry adds it.
 */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { z } from "zod";

const Entry = z.object({
  version: z.string().optional(),
  dev: z.boolean().optional(),
  optional: z.boolean().optional(),
  cpu: z.array(z.string()).optional(),
  libc: z.array(z.string()).optional(),
  os: z.array(z.string()).optional(),
  optionalDependencies: z.record(z.string(), z.string()).optional(),
});
const Lock = z.object({ packages: z.record(z.string(), Entry) });
/** Gives back the object that was read, so that its other fields and their order stay. */
const UntouchedLock = z.custom<z.infer<typeof Lock>>((value) => Lock.safeParse(value).success);

const systems = /^(aix|android|darwin|freebsd|linux|netbsd|openbsd|openharmony|sunos|win32)$/;
const processors = /^(arm|arm64|ia32|loong64|mips64el|ppc64|riscv64|s390x|x64)$/;
const libraries: Readonly<Record<string, string>> = {
  musl: "musl",
  musleabihf: "musl",
  gnu: "glibc",
  gnueabihf: "glibc",
};

/** What a name like `@biomejs/cli-linux-x64-musl` says, in the words of package.json. */
function platform(name: string): { os: string[]; cpu: string[]; libc: string[] } {
  const words = name.split(/[/-]/);
  const os = words.filter((word) => systems.test(word));
  const cpu = words.filter((word) => processors.test(word));
  if (os.length !== 1 || cpu.length !== 1)
    throw new Error(`${name}: its name states no platform; run npm install where the registry has it`);
  return { os, cpu, libc: os.includes("linux") ? words.flatMap((word) => libraries[word] ?? []) : [] };
}

/** Whether Node's look-up from `parent` finds `name`: in its own node_modules, or in one above it. */
function isLocked({ packages }: z.infer<typeof Lock>, parent: string, name: string): boolean {
  for (let folder = parent; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf("/node_modules/")))) {
    if (path.posix.join(folder, "node_modules", name) in packages) return true;
    if (folder === "") return false;
  }
}

const file = path.resolve(import.meta.dirname, "../package-lock.json");
const lock = UntouchedLock.parse(JSON.parse(readFileSync(file, "utf8")));
const before = Object.keys(lock.packages).length;
for (const [parent, { dev, optionalDependencies }] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(optionalDependencies ?? {})) {
    if (isLocked(lock, parent, name)) continue;
    if (!/^\d+[.]\d+[.]\d+/.test(version))
      throw new Error(`${name}: ${parent} asks for ${version}, not for one version`);
    const { cpu, libc, os } = platform(name);
    // In npm's own order of fields, so that its next run leaves the entry as it is.
    lock.packages[`node_modules/${name}`] = {
      version,
      cpu,
      ...(dev && { dev }),
      ...(libc.length > 0 && { libc }),
      optional: true,
      os,
    };
  }
}
lock.packages = Object.fromEntries(
  Object.entries(lock.packages).sort(([left], [right]) => left.localeCompare(right, "en")),
);
const added = Object.keys(lock.packages).length - before;
if (added > 0) writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
console.error(`package-lock.json: ${added} packages of other platforms added`);
