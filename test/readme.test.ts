/** The TypeScript of the README runs as it stands, against this source tree. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import { webGpuUnderTest } from "./support/webgpu.ts";

const root = path.resolve(import.meta.dirname, "..");
const snippets = [
  ...readFileSync(path.join(root, "README.md"), "utf8").matchAll(/^```ts\n([\s\S]*?)^```/gm),
].map(([, code]) => code);
const folder = mkdtempSync(path.join(os.tmpdir(), "gradweave-readme-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Package names become files of the source tree. */
function withSourcePaths(code: string): string {
  const file = (entry: string) => pathToFileURL(path.join(root, "src", entry, "index.ts")).href;
  return code.replaceAll(/from "gradweave(?:\/(\w+))?"/g, (_, entry = "") => `from "${file(entry)}"`);
}

async function run(code: string, index: number): Promise<string> {
  const file = path.join(folder, `snippet${index}.mts`);
  writeFileSync(file, withSourcePaths(code));
  const tsx = path.join(root, "node_modules/tsx/dist/cli.mjs");
  const { stdout } = await promisify(execFile)(process.execPath, [tsx, file], { cwd: root });
  return stdout;
}

describe("README", () => {
  it("has the tour, the edge hook, the comparison, Darknet files, the layer test, the layer and the GPU", () => {
    expect(snippets).toHaveLength(7);
  });

  it("shows equation (4), no duplicates across the sides, and pieces while training", async () => {
    const output = await run(snippets[0], 0);
    expect(output).toContain("w_U' = f(w_U, g_0', g_T)\n0\n");
    expect(output).toMatch(/x_0'' <- w_1, w_2, w_3, w_4, w_T/);
  });

  it("shows a piece for every consumer and slot", async () => {
    const output = await run(snippets[1], 1);
    expect(output).toContain("mul 0 [ 1, 2, 3 ]");
    expect(output).toContain("mul 1 [ 1, 2, 3 ]");
    expect(output).toContain("exp 0");
  });

  it.each([2, 3, 4, 5])("runs snippet %i", async (index) => {
    await expect(run(snippets[index], index)).resolves.toBeTypeOf("string");
  });

  it.skipIf(!webGpuUnderTest())("says which adapter computes", async () => {
    expect(await run(snippets[6], 6)).toMatch(/^\S.* 0\n$/);
  });
});
