import { execFileSync } from "node:child_process";
import { expect, it } from "vitest";

it("the example finds the planted bug and passes the corrected layer", () => {
  const output = execFileSync(process.execPath, ["--import", "tsx", "examples/property-test-layer.ts"], {
    encoding: "utf8",
  });
  expect(output).toContain('checkLayer: ChannelGate: "gradients in training" does not hold');
  expect(output).toContain("the gradient of weight [3] is wrong");
  expect(output).toMatch(/input +\[1, 3, 1, 1\]/);
  expect(output).toContain("ChannelGate has every property that checkLayer knows.");
});
