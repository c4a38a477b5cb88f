/**
 * A training step gives the same bits on 1, 2 and 3 threads: every gradient, every parameter, every statistic. So do the
 * weight gradients of images that are large enough to be walked in parts (weightParts.ts).
 */
import { afterAll, describe, expect, it } from "vitest";
import { CpuBackend } from "../src/backends/cpu/index.ts";
import { loops } from "../src/backends/cpu/loops/index.ts";
import { createWasmSupport } from "../src/backends/cpu/wasm/index.ts";
import {
  conv2dWeightGradient,
  defaultBackend,
  Generator,
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

const original = defaultBackend();
afterAll(() => setDefaultBackend(original));

/** Holds what `bits` gives on 1 thread against what it gives on 2 and 3; at least `fewest` entries. */
async function expectSameBits(bits: () => ReadonlyMap<string, number[]>, fewest: number): Promise<void> {
  const results: ReadonlyMap<string, number[]>[] = [];
  for (const threads of [1, 2, 3]) {
    const wasm = createWasmSupport(threads, { memory64: process.env.GRADWEAVE_MEMORY64 === "1" });
    if (!wasm) throw new Error("this engine has no WebAssembly SIMD");
    const backend = new CpuBackend({ kernels: loops, compiled: wasm.kernels, memory: wasm.memory });
    setDefaultBackend(backend);
    const big = randn([1 << 20]);
    await allRunning(wasm.pool, () => big.relu());
    results.push(bits());
    await wasm.pool.close();
  }
  const [alone, ...others] = results;
  expect(alone.size).toBeGreaterThanOrEqual(fewest);
  for (const together of others)
    for (const [name, each] of alone) expect(together.get(name), name).toEqual(each);
  // Not a comparison of nothing with nothing.
  expect([...alone.values()].flat().some((each) => each !== 0)).toBe(true);
}

describe.each(networks)("three steps of a %s", (_, create) => {
  it("are the same on 1, 2 and 3 threads", async () => {
    await expectSameBits(() => train(create), 41);
  });
});

describe("weight gradients of large images", () => {
  it.each([
    { x: [3, 18, 91, 89], weight: [19, 18, 1, 1] },
    { x: [9, 2, 58, 50], weight: [70, 2, 3, 3] },
    { x: [4, 25, 47, 49], weight: [18, 25, 3, 3] },
  ])("are the same on 1, 2 and 3 threads: x $x, weight $weight", async ({ x: shape, weight }) => {
    const padding = weight[2] >> 1;
    const gradientOf = (): Tensor => {
      const generator = new Generator(3);
      const x = randn(shape, { generator });
      const gradient = randn([shape[0], weight[0], shape[2], shape[3]], { generator });
      return conv2dWeightGradient(x, gradient, weight, { padding });
    };
    await expectSameBits(() => new Map([["weight", bitsOf(gradientOf())]]), 1);
  });
});
