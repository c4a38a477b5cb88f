/**
 * `npm run package:check`: packs the package as `npm publish` would, installs the tarball into an empty project
 * and uses it like a stranger: Node imports every entry of `exports`, TypeScript compiles against every entry
 * under both module resolutions, publint and arethetypeswrong read the tarball.
 * The entries come from package.json, so a new one is checked without a change here.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { z } from "zod";

const Manifest = z.object({
  name: z.string(),
  exports: z.record(z.string(), z.union([z.string(), z.record(z.string(), z.string())])),
  peerDependencies: z.record(z.string(), z.string()).default({}),
});
const RuntimeNames = z.record(z.string(), z.array(z.string()));

const root = path.resolve(import.meta.dirname, "..");
const tools = path.join(root, "node_modules");
const { name, exports, peerDependencies } = Manifest.parse(
  JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")),
);
/** What a user writes after `import`; data files such as ./package.json are not code. */
const specifiers = Object.keys(exports)
  .filter((entry) => !entry.endsWith(".json"))
  .map((entry) => path.posix.join(name, entry));

/** Runs a tool that speaks to people; throws when it fails. */
function run(command: string, args: readonly string[], cwd: string): void {
  execFileSync(command, args, { cwd, stdio: ["ignore", process.stderr.fd, process.stderr.fd] });
}

function runNode(args: readonly string[], cwd: string): void {
  run(process.execPath, args, cwd);
}

function pack(destination: string): string {
  run("npm", ["pack", "--silent", "--pack-destination", destination], root);
  const tarball = readdirSync(destination).find((file) => file.endsWith(".tgz"));
  if (!tarball) throw new Error(`npm pack left no .tgz in ${destination}`);
  return path.join(destination, tarball);
}

function installInto(project: string, tarball: string): void {
  writeFileSync(path.join(project, "package.json"), JSON.stringify({ private: true, type: "module" }));
  // Optional peers are installed too, because an entry may need one.
  const peers = Object.entries(peerDependencies).map(([peer, range]) => `${peer}@${range}`);
  run("npm", ["install", "--silent", "--prefer-offline", "--ignore-scripts", tarball, ...peers], project);
}

/** Every entry loaded by Node in one process, which must end by itself, and the names each one exports. */
function importEntries(project: string): Record<string, string[]> {
  writeFileSync(
    path.join(project, "load.js"),
    `const names = {};
for (const entry of ${JSON.stringify(specifiers)}) names[entry] = Object.keys(await import(entry)).sort();
console.log(JSON.stringify(names));
`,
  );
  const output = execFileSync(process.execPath, ["load.js"], { cwd: project, encoding: "utf8" });
  return RuntimeNames.parse(JSON.parse(output));
}

/**
 * A program that compiles only if the types of every entry resolve, name exactly what exists at run time,
 * and contain no `any` where a declaration file failed to resolve.
 */
function typedProgram(names: Record<string, string[]>): string {
  const header = `type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;
type IsAny<T> = 0 extends 1 & T ? true : false;
type NamesOfAny<T> = { [K in keyof T]: IsAny<T[K]> extends true ? K : never }[keyof T];
`;
  const entries = Object.entries(names).map(([entry, values], index) => {
    const union = values.map((value) => JSON.stringify(value)).join(" | ") || "never";
    return `import * as entry${index} from ${JSON.stringify(entry)};
export const declared${index}: Same<keyof typeof entry${index}, ${union}> = true;
export const typed${index}: Same<NamesOfAny<typeof entry${index}>, never> = true;
`;
  });
  return header + entries.join("");
}

function compile(project: string, module: string, moduleResolution: string): void {
  const compilerOptions = {
    strict: true,
    noEmit: true,
    target: "ES2022",
    lib: ["ESNext", "DOM"],
    types: [],
    // Errors inside the shipped declaration files count: skipping them would turn broken types into any.
    skipLibCheck: false,
    module,
    moduleResolution,
  };
  writeFileSync(path.join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["use.ts"] }));
  runNode([path.join(tools, "typescript/bin/tsc"), "-p", "."], project);
}

/** Source maps and declaration maps must point at files that were shipped. */
function checkMaps(project: string): void {
  const installed = path.join(project, "node_modules", name);
  const maps = readdirSync(installed, { recursive: true, encoding: "utf8" }).filter((file) =>
    file.endsWith(".map"),
  );
  for (const file of maps) {
    const full = path.join(installed, file);
    const { sources } = z
      .object({ sources: z.array(z.string()) })
      .parse(JSON.parse(readFileSync(full, "utf8")));
    for (const source of sources) {
      if (!existsSync(path.resolve(path.dirname(full), source)))
        throw new Error(
          `${file} points at ${source}, which is not in the package: see "files" in package.json`,
        );
    }
  }
}

const folder = mkdtempSync(path.join(tmpdir(), "package-check-"));
try {
  const tarball = pack(folder);
  installInto(folder, tarball);
  const names = importEntries(folder);
  for (const [entry, values] of Object.entries(names)) console.error(`${entry}: ${values.length} names`);
  writeFileSync(path.join(folder, "use.ts"), typedProgram(names));
  compile(folder, "NodeNext", "NodeNext");
  compile(folder, "ESNext", "Bundler");
  checkMaps(folder);
  runNode([path.join(tools, "publint/src/cli.js"), tarball, "--strict"], root);
  const attw = path.join(tools, "@arethetypeswrong/cli/dist/index.js");
  runNode([attw, tarball, "--profile", "esm-only", "--format", "table-flipped"], root);
  console.error(`package: ${specifiers.length} entries load and type-check from the tarball`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
