/**
 * Kernels that are still at work when they return: on a runtime that puts every range off, every op and every gradient
 * gives what it gives otherwise, so nobody reads or writes from JavaScript what a kernel has yet to write or read.
 */
import { describe, expect, it } from "vitest";
import { registeredOps } from "../src/autograd/defineOp.ts";
import { CpuBackend } from "../src/backends/cpu/index.ts";
import { loops } from "../src/backends/cpu/loops/index.ts";
import { runPointwise } from "../src/backends/cpu/pointwise.ts";
import { webAssembly } from "../src/backends/cpu/wasm/encoder/index.ts";
import { wasmKernels } from "../src/backends/cpu/wasm/index.ts";
import { WasmRuntime } from "../src/backends/cpu/wasm/runtime.ts";
import {
  crossEntropy,
  defaultBackend,
  manualSeed,
  optim,
  randn,
  setDefaultBackend,
  tensor,
} from "../src/index.ts";
import { kernelMemory } from "./support/kernelMemory.ts";
import { LateRuntime } from "./support/lateRuntime.ts";
import { casesOf, claimsOf, complaintsOf, integerClaimsOf } from "./support/opsOnDevice.ts";
import { smallNetworks } from "./support/smallNetworks.ts";

function backendOn(Runtime: typeof WasmRuntime): CpuBackend {
  if (!webAssembly) throw new Error("this engine has no WebAssembly");
  const memory = kernelMemory();
  const runtime = new Runtime(webAssembly, memory, false);
  const kernels = { ...loops, pointwise: runPointwise };
  return new CpuBackend({ kernels, compiled: wasmKernels(runtime), memory });
}

describe("kernels that are put off", () => {
  const late = backendOn(LateRuntime);

  // What cast gives is not always f32, which claims are about.
  const ops = [...registeredOps().values()].filter(({ name }) => name !== "cast");

  it.each(ops)("$name", async (op) => {
    const complaints: string[] = [];
    for (const example of casesOf(op))
      for (const claim of [...claimsOf(example, late), ...integerClaimsOf(example, late)])
        complaints.push(...(await complaintsOf(claim)));
    expect(complaints).toEqual([]);
  });

  it.each(smallNetworks)("three steps of a %s, with the same bits", (_, create) => {
    const before = defaultBackend();
    const train = (backend: CpuBackend): number[][] => {
      setDefaultBackend(backend);
      manualSeed(3);
      const model = create();
      const optimizer = new optim.SGD(model.parameters(), { lr: 0.1, momentum: 0.9 });
      const images = randn([4, 1, 14, 14]);
      const labels = tensor([0, 1, 2, 3], { dtype: "i32" });
      for (let step = 0; step < 3; step++) {
        optimizer.zeroGrad();
        crossEntropy(model.forward(images), labels).backward();
        optimizer.step();
      }
      return [...model.stateDict()].map(([, value]) => [...value.contiguous().dataSync()]);
    };
    try {
      expect(train(late)).toEqual(train(backendOn(WasmRuntime)));
    } finally {
      setDefaultBackend(before);
    }
  });
});
