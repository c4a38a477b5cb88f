/** The documentation says what the code does: the table of ops, and the snippets of the README. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
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
