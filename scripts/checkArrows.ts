/**
 * `npm run check:arrows`: refuses an import that points up the house, and any circle of imports.
 *
 * The compiler strips the types first and dependency-cruiser then reads plain JavaScript. So an `import type`,
 * which is gone at run time, may look back at any folder, and what is checked is exactly what Node will load.
 * Reading the TypeScript directly does not do: dependency-cruiser's swc parser counts `import type` as an import
 * and fails on `using`, and without a parser it reports success over 0 modules.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import { cruise, type ICruiseResult, type IForbiddenRuleType } from "dependency-cruiser";

const root = path.resolve(import.meta.dirname, "..");

const checked = ["src", "test", "examples", "bench", "scripts"];

const core = ["backends", "tensor", "autograd"];
const network = [...core, "nn"];
const library = [...network, "graph", "gradflow", "models", "detect", "data", "io", "text"];

/** What each folder of src may import, besides itself. A folder that is missing here may import nothing. */
const arrows: Readonly<Record<string, readonly string[]>> = {
  backends: [],
  tensor: ["backends"],
  autograd: ["backends", "tensor"],
  nn: core,
  graph: [...network, "text"],
  gradflow: [...network, "graph", "text"],
  models: network,
  cost: library,
  detect: network,
  data: [...core, "io"],
  io: [...network, "graph"],
  train: library,
  cli: [...library, "train"],
  testing: network,
  text: [],
};

/** Folders that `src/index.ts` leaves out: the command, and the testing kit that needs fast-check. */
const notPublic = ["cli", "cost", "testing"];

function rules(): IForbiddenRuleType[] {
  const known = Object.keys(arrows).join("|");
  const folders = Object.entries(arrows).map(([folder, targets]) => ({
    name: `${folder}-may-import-only: ${targets.join(", ") || "itself"}`,
    severity: "error" as const,
    from: { path: `^src/${folder}/` },
    to: { path: "^src/", pathNot: `^src/(${[folder, ...targets].join("|")})/` },
  }));
  return [
    ...folders,
    {
      name: "no-folder-outside-the-house (add it to the arrows in scripts/checkArrows.ts)",
      severity: "error",
      from: {},
      to: { path: "^src/[^/]+/", pathNot: `^src/(${known})/` },
    },
    {
      name: "index-exports-only-the-library",
      severity: "error",
      from: { path: "^src/[^/]+$" },
      to: { path: `^src/(${notPublic.join("|")})/` },
    },
    {
      name: "src-never-imports-its-users",
      severity: "error",
      from: { path: "^src/" },
      to: { path: "^(test|examples|bench|scripts)/" },
    },
    {
      name: "examples-import-only-the-library",
      severity: "error",
      from: { path: "^examples/" },
      to: { path: "^(test|bench|scripts)/" },
    },
    {
      name: "src-runs-without-dev-dependencies",
      severity: "error",
      from: { path: "^src/" },
      to: {
        dependencyTypes: ["npm-dev", "npm-no-pkg", "npm-unknown"],
        dependencyTypesNot: ["npm", "npm-optional", "npm-peer"],
      },
    },
    { name: "imports-resolve", severity: "error", from: { path: "^src/" }, to: { couldNotResolve: true } },
    { name: "no-circles", severity: "error", from: {}, to: { circular: true } },
  ];
}

/** Emits the repository's TypeScript as JavaScript into a folder of its own, from where packages still resolve. */
function stripTypes(): string {
  const reports = path.join(root, "reports");
  mkdirSync(reports, { recursive: true });
  const emitted = mkdtempSync(path.join(reports, "arrows-"));
  const tsc = path.join(root, "node_modules/typescript/bin/tsc");
  const options = ["--noEmit", "false", "--noCheck", "--rewriteRelativeImportExtensions", "--rootDir", root];
  execFileSync(process.execPath, [tsc, "-p", root, ...options, "--outDir", emitted], { stdio: "inherit" });
  return emitted;
}

async function readImports(emitted: string): Promise<ICruiseResult> {
  const { output } = await cruise(
    readdirSync(emitted).filter((name) => checked.includes(name)),
    {
      baseDir: emitted,
      ruleSet: { forbidden: rules() },
      validate: true,
      doNotFollow: { path: "node_modules" },
    },
    { conditionNames: ["node", "import", "default"], exportsFields: ["exports"] },
  );
  if (typeof output === "string") throw new Error(`dependency-cruiser gave text for a result: ${output}`);
  return output;
}

/** Every source file must have been read: a checker that reads nothing finds nothing. */
function filesNotRead({ modules }: ICruiseResult): string[] {
  const read = new Set(modules.map(({ source }) => source));
  return readdirSync(path.join(root, "src"), { recursive: true, encoding: "utf8" })
    .map((file) => path.posix.join("src", ...file.split(path.sep)))
    .filter((file) => file.endsWith(".ts") && !read.has(file.replace(/ts$/, "js")));
}

const emitted = stripTypes();
try {
  const result = await readImports(emitted);
  const complaints = result.summary.violations.map(({ rule, from, to, cycle }) => {
    const route = cycle?.length ? cycle.map(({ name }) => name) : [to];
    return `${rule.name}: ${[from, ...route].join(" -> ").replaceAll(/[.]js\b/g, ".ts")}`;
  });
  complaints.push(...filesNotRead(result).map((file) => `not read by the checker: ${file}`));
  if (result.summary.totalCruised === 0) complaints.push("no module was found: nothing was checked");
  for (const complaint of complaints) console.error(complaint);
  console.error(`arrows: ${result.summary.totalCruised} modules, ${complaints.length} complaints`);
  process.exitCode = complaints.length === 0 ? 0 : 1;
} finally {
  rmSync(emitted, { recursive: true, force: true });
}
