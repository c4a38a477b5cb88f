/** The generic test of every op there is. A new op is tested by being registered. */
import { describe, expect, it } from "vitest";
import "../src/autograd/index.ts";
import { registeredOps } from "../src/autograd/defineOp.ts";
import { checkOp } from "../src/testing/checkOp.ts";

describe("every op in the registry", () => {
  it("is registered when autograd is imported", () => {
    expect(registeredOps().size).toBeGreaterThan(40);
  });

  it.each([...registeredOps().keys()])("%s", (name) => {
    const op = registeredOps().get(name);
    if (!op) throw new Error(`no op ${name}`);
    checkOp(op, { seed: 2026, runs: 20 });
  });
});
