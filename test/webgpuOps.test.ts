/**
 * Every op of the registry on WebGPU, values and gradients, over its fixed samples and random ones, in all layouts:
 * in f32 against the reference loops in f64 on the same values.
 */
import { describe, expect, it } from "vitest";
import "../src/autograd/index.ts";
import { registeredOps } from "../src/autograd/defineOp.ts";
import { createWebGpuBackend } from "../src/backends/webgpu/index.ts";
import { casesOf, claimsOf, complaintsOf, integerClaimsOf } from "./support/opsOnDevice.ts";
import { webGpuUnderTest } from "./support/webgpu.ts";

const options = webGpuUnderTest();

describe.skipIf(!options)("ops on WebGPU", async () => {
  const software = options ? await createWebGpuBackend(options) : null;
  /** With the kernels that GPUs run where software adapters have others. */
  const likeGpus = options ? await createWebGpuBackend({ ...options, quads: false }) : null;
  const cases = [...registeredOps().values()].flatMap((op) => [
    { op, device: software, name: op.name },
    ...(/conv2d|matmul/i.test(op.name)
      ? [{ op, device: likeGpus, name: `${op.name} with the kernels of GPUs` }]
      : []),
  ]);
  for (const { op, device, name } of cases) {
    it(`${name} is the reference, and so are its gradients`, async () => {
      if (!device) return;
      const claims = casesOf(op).flatMap((example) => {
        const { attributes } = example.sample;
        if (Object(attributes).dtype === "f64") {
          expect(() => claimsOf(example, device)).toThrow("shaders have no f64");
          return [];
        }
        return [...claimsOf(example, device), ...integerClaimsOf(example, device)];
      });
      const wrong = (await Promise.all(claims.map((claim) => complaintsOf(claim)))).flat();
      expect(wrong).toEqual([]);
    });
  }
});
