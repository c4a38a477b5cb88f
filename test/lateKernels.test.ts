/**
 * Kernels that are still at work when they return: on a runtime that puts every range off, every op and every gradient
 * gives what it gives otherwise, so nobody reads or writes from JavaScript what a kernel has yet to write or read.
 */
import { describe, expect, it } from "vitest";
import { type RegisteredOp, registeredOps } from "../src/autograd/defineOp.ts";
import { CpuBackend } from "../src/backends/cpu/index.ts";
import { loops } from "../src/backends/cpu/loops/index.ts";
import { runPointwise } from "../src/backends/cpu/pointwise.ts";
import { webAssembly } from "../src/backends/cpu/wasm/encoder/index.ts";
import { wasmKernels } from "../src/backends/cpu/wasm/index.ts";
import { WasmRuntime } from "../src/backends/cpu/wasm/runtime.ts";
import {
  avgPool2d,
  crossEntropy,
  defaultBackend,
  manualSeed,
  maxPool2d,
  optim,
  randn,
  setDefaultBackend,
  type Tensor,
  tensor,
} from "../src/index.ts";
import { kernelMemory } from "./support/kernelMemory.ts";
import { LateOperandsBackend, LateRuntime } from "./support/lateRuntime.ts";
import { casesOf, claimsOf, complaintsOf, integerClaimsOf } from "./support/opsOnDevice.ts";
import { smallNetworks } from "./support/smallNetworks.ts";

const plainKernels = { ...loops, pointwise: runPointwise };

function runtimeOf<Runtime>(Kind: new (...given: ConstructorParameters<typeof WasmRuntime>) => Runtime) {
  if (!webAssembly) throw new Error("this engine has no WebAssembly");
  const memory = kernelMemory();
  return { runtime: new Kind(webAssembly, memory, false), memory };
}

const late = runtimeOf(LateRuntime);
const optionsOf = ({ runtime, memory }: ReturnType<typeof runtimeOf<WasmRuntime>>) => ({
  ...{ kernels: plainKernels, compiled: wasmKernels(runtime), watch: runtime, memory },
});
const lateBackend = new CpuBackend(optionsOf(late));
const lateOperands = runtimeOf(LateRuntime);
const lateOperandsBackend = new LateOperandsBackend(lateOperands.runtime, optionsOf(lateOperands));

describe("kernels that are put off", () => {
  // What cast gives is not always f32, which claims are about.
  const ops = [...registeredOps().values()].filter(({ name }) => name !== "cast");
  const check = async (op: RegisteredOp, backend: CpuBackend) => {
    const complaints: string[] = [];
    for (const example of casesOf(op))
      for (const claim of [...claimsOf(example, backend), ...integerClaimsOf(example, backend)])
        complaints.push(...(await complaintsOf(claim)));
    expect(complaints).toEqual([]);
  };

  it.each(ops)("$name", (op) => check(op, lateBackend));

  it.each(ops)("$name, and what makes its operands", (op) => check(op, lateOperandsBackend));

  const poolings: readonly (readonly [string, (x: Tensor) => Tensor])[] = [
    ["where a kernel may refuse a NaN", (x) => maxPool2d(x, { kernelSize: 3, stride: 2, padding: 1 })],
    ["where no window reads the last row", (x) => avgPool2d(x, { kernelSize: 2 })],
  ];
  it.each(poolings)("the gradient of pooling %s", (_, pool) => {
    const values = Float32Array.from({ length: 15 * 15 }, (_, i) => (i === 50 ? Number.NaN : Math.sin(i)));
    const gradientOn = (backend: CpuBackend) => {
      const x = tensor(values, { shape: [1, 1, 15, 15], backend, requiresGrad: true });
      // The gradient of a sum alone would be one number in memory, which goes to the loops.
      pool(x).mul(2).sum().backward();
      return [...(x.grad?.dataSync() ?? [])];
    };
    const plain = gradientOn(new CpuBackend({ kernels: plainKernels }));
    expect(plain).toHaveLength(15 * 15);
    expect(gradientOn(lateBackend)).toEqual(plain);
    expect(gradientOn(lateOperandsBackend)).toEqual(plain);
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
      expect(train(lateBackend)).toEqual(train(new CpuBackend(optionsOf(runtimeOf(WasmRuntime)))));
    } finally {
      setDefaultBackend(before);
    }
  });
});
