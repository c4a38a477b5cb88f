/** A training step gives the same bits on 1, 2 and 3 threads: every gradient, every parameter, every statistic. */
import { afterAll, describe, expect, it } from "vitest";
import { CpuBackend } from "../src/backends/cpu/index.ts";
import { loops } from "../src/backends/cpu/loops/index.ts";
import { createWasmSupport } from "../src/backends/cpu/wasm/index.ts";
import {
  defaultBackend,
  manualSeed,
  nn,
  optim,
  randn,
  setDefaultBackend,
  type Tensor,
  tensor,
} from "../src/index.ts";
import { cspDenseNet, type DenseNet, densenet } from "../src/models/index.ts";
import { allRunning } from "./support/threads.ts";

const sizes = { blocks: [2, 2], growthRate: 8, stemChannels: 16, classes: 10 };
const networks: readonly (readonly [string, () => DenseNet])[] = [
  ["DenseNet", () => densenet(sizes)],
  ["CSPDenseNet", () => cspDenseNet({ ...sizes, fusion: "last" })],
];

const bitsOf = (x: Tensor): number[] => [...new Int32Array(x.contiguous().dataSync().buffer)];

/** The bits that three steps leave behind, by name. */
function train(create: () => DenseNet): Map<string, number[]> {
  manualSeed(5);
  const model = create();
  const optimizer = new optim.SGD(model.parameters(), { lr: 0.1, momentum: 0.9, weightDecay: 1e-4 });
  const images = randn([8, 3, 96, 96]);
  const labels = tensor([0, 1, 2, 3, 4, 5, 6, 7], { dtype: "i32" });
  for (let step = 0; step < 3; step++) {
    optimizer.zeroGrad();
    nn.crossEntropy(model.forward(images), labels).backward();
    optimizer.step();
  }
  const gradients = [...model.namedParameters()].map(([name, { grad }]) => {
    if (!grad) throw new Error(`${name} has no gradient`);
    return [`gradient of ${name}`, bitsOf(grad)] as const;
  });
  return new Map([...gradients, ...[...model.stateDict()].map(([name, x]) => [name, bitsOf(x)] as const)]);
}

describe.each(networks)("three steps of a %s", (_, create) => {
  const original = defaultBackend();
  afterAll(() => setDefaultBackend(original));

  it("are the same on 1, 2 and 3 threads", async () => {
    const results: Map<string, number[]>[] = [];
    for (const threads of [1, 2, 3]) {
      const wasm = createWasmSupport(threads, { memory64: process.env.GRADWEAVE_MEMORY64 === "1" });
      if (!wasm) throw new Error("this engine has no WebAssembly SIMD");
      const backend = new CpuBackend({ kernels: loops, compiled: wasm.kernels, memory: wasm.memory });
      setDefaultBackend(backend);
      const big = randn([1 << 20]);
      await allRunning(wasm.pool, () => big.relu());
      results.push(train(create));
      await wasm.pool.close();
    }
    const [alone, ...others] = results;
    expect(alone.size).toBeGreaterThan(40);
    for (const together of others)
      for (const [name, bits] of alone) expect(together.get(name), name).toEqual(bits);
    // Not a comparison of nothing with nothing.
    expect([...alone.values()].flat().some((bits) => bits !== 0)).toBe(true);
  });
});
