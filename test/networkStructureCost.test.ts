/** What it costs to build the largest networks and to know their gradients' structure, as users of the package run it. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { build } from "vite";
import { afterAll, beforeAll, expect, it } from "vitest";

const source = (folder: string): string => JSON.stringify(resolve("src", folder, "index.ts"));

const program = `
  import { createModel } from ${source("models")};
  import { networkStructure } from ${source("gradflow")};
  const [name] = process.argv.slice(2);
  const { stages } = networkStructure(createModel(name), [1, 3, 224, 224]);
  const { user, system } = process.cpuUsage();
  const equations = stages.reduce((sum, { equations: { forward, update } }) => sum + forward.length + update.length, 0);
  const megabytes = (process.resourceUsage().maxRSS * 1024) / 1e6;
  console.log(JSON.stringify({ equations, seconds: (user + system) / 1e6, megabytes }));
`;

let folder = "";

beforeAll(async () => {
  // Built, as the package is: a loader that compiles sources while they run takes some 50 MB for itself.
  folder = mkdtempSync(join(tmpdir(), "gradweave-structure-"));
  writeFileSync(join(folder, "program.ts"), program);
  await build({
    configFile: false,
    logLevel: "silent",
    ssr: { noExternal: true, external: ["sharp", "webgpu"] },
    build: { ssr: join(folder, "program.ts"), outDir: join(folder, "built"), target: "node20" },
  });
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

it.each([
  ["densenet-264", 2 * (6 + 12 + 64 + 48 + 3)],
  ["csp-densenet-201-elastic", 2 * (20 + 40 + 80 + 60 + 4)],
])("%s, its structure and its equations take a fresh process under 3 s and 300 MB", (name, equations) => {
  const output = execFileSync(process.execPath, [join(folder, "built", "program.js"), name], {
    encoding: "utf8",
  });
  const found: unknown = JSON.parse(output);
  expect(found).toMatchObject({ equations });
  // Processor time and memory of all of it: loading the library, drawing the weights, equations.
  const { seconds, megabytes } = found as { seconds: number; megabytes: number };
  expect(seconds).toBeLessThan(3);
  expect(megabytes).toBeLessThan(300);
});
