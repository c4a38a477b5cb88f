/** The documentation says what the code does: the table of ops, and the snippets of the README. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { gradientStructurePath, renderGradientStructure } from "../scripts/gradientStructure.ts";
import { opsTablePath, renderOpsTable } from "../scripts/opsTable.ts";
import { registeredOps } from "../src/autograd/defineOp.ts";

describe("docs/ops.md", () => {
  const page = readFileSync(opsTablePath, "utf8");

  it("lists exactly the ops of the registry", () => {
    const listed = [...page.matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name);
    expect(listed.sort()).toEqual([...registeredOps().keys()].sort());
  });

  it("is what `npm run docs:ops` writes", () => {
    expect(page).toBe(renderOpsTable());
  });
});

describe("docs/gradient-structure.md", () => {
  const page = readFileSync(gradientStructurePath, "utf8");

  it("is what `npm run docs:structure` writes", () => {
    expect(page).toBe(renderGradientStructure());
  });

  it("has no gradient shared across the sides but for fusion first, whatever the share that goes around", () => {
    const rows = page.split("\n").filter((line) => line.startsWith("| CSP, "));
    expect(rows).toHaveLength(18);
    for (const row of rows) {
      const [, label, , , , across, behind] = row.split("|").map((cell) => cell.trim());
      if (label === "CSP, fusion first") expect(Math.min(Number(across), Number(behind))).toBeGreaterThan(0);
      else expect([across, behind]).toEqual(["0", "0"]);
    }
  });
});
