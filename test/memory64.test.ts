/**
 * The CPU backend with 64-bit memory: tensors beyond 4 GiB, the same bits as in 32-bit memory, and what it says where
 * the engine has none. What lies below 4 GiB is allocated and never touched, so it takes no memory.
 */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type CpuBackend, createCpuBackend } from "../src/backends/cpu/index.ts";
import { hasMemory64, webAssembly } from "../src/backends/cpu/wasm/encoder/index.ts";
import { SharedMemory } from "../src/backends/cpu/wasm/sharedMemory.ts";
import {
  avgPool2d,
  batchNorm,
  conv2d,
  defaultBackend,
  dropout,
  gather,
  grad,
  logSoftmax,
  manualSeed,
  matmul,
  maxPool2d,
  nn,
  optim,
  randn,
  setDefaultBackend,
  type Tensor,
  tensor,
  upsample,
} from "../src/index.ts";
import { cspDenseNet } from "../src/models/index.ts";

const has = hasMemory64();
if (!has)
  console.info("memory64: this engine has no 64-bit memory, so only what is said about that is tested");

const original = defaultBackend();
const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
beforeEach(() => warn.mockClear());
afterEach(() => {
  setDefaultBackend(original);
  vi.unstubAllEnvs();
  vi.unstubAllGlobals();
  vi.resetModules();
});

const bitsOf = (x: Tensor): number[] => [
  ...new Int32Array(Float32Array.from(x.contiguous().dataSync()).buffer),
];

/** Takes the first 4 GiB. */
function lift(backend: CpuBackend): void {
  for (let i = 0; i < 4; i++) backend.allocate("f32", 2 ** 28, "workspace");
  expect(backend.info().memory.reservedBytes).toBeGreaterThan(2 ** 32);
}

/** The bits of the function's results in both memories; in that of 64 bits, of tensors beyond 4 GiB. */
function inBoth(work: () => readonly Tensor[]): readonly (readonly number[])[][] {
  return [false, true].map((memory64) => {
    // Without V8's 256-bit vectors, which there are none of on 64 bits, and which add up in another order.
    const backend = createCpuBackend({ memory64, v8Flags: false, threads: 2 });
    expect(backend.info().memory.addressBits).toBe(memory64 ? 64 : 32);
    if (memory64) lift(backend);
    setDefaultBackend(backend);
    manualSeed(7);
    return work().map(bitsOf);
  });
}

const drawn = (...shape: number[]): Tensor => randn(shape);
const leaf = (...shape: number[]): Tensor => randn(shape, { requiresGrad: true });
const withGradients = (result: Tensor, leaves: readonly Tensor[]): Tensor[] => [
  result,
  ...grad(result.mul(drawn(...result.shape)).sum(), [...leaves]),
];

/** A convolution of the given sizes, with all its gradients. */
function convolution(
  image: readonly number[],
  weight: readonly number[],
  stride: number,
  groups = 1,
): Tensor[] {
  const leaves = [leaf(...image), leaf(...weight), leaf(weight[0])];
  const [x, w, bias] = leaves;
  const padding = weight[2] >> 1;
  return withGradients(conv2d(x, w, { bias, stride, padding, groups }), leaves);
}

const cases: Readonly<Record<string, () => readonly Tensor[]>> = {
  "1x1 convolution": () => convolution([2, 24, 15, 13], [32, 24, 1, 1], 1),
  "3x3 convolution, by squares": () => convolution([2, 32, 14, 14], [32, 32, 3, 3], 1),
  "3x3 convolution of few channels": () => convolution([3, 5, 13, 11], [7, 5, 3, 3], 1),
  "3x3 convolution, stride 2, groups": () => convolution([2, 16, 17, 19], [24, 4, 3, 3], 2, 4),
  "7x7 convolution, stride 2": () => convolution([2, 3, 33, 31], [16, 3, 7, 7], 2),
  "matrix product": () => {
    const [a, b] = [leaf(37, 53), leaf(53, 29)];
    return withGradients(matmul(a, b), [a, b]);
  },
  "pointwise, broadcast": () => {
    const [a, b] = [leaf(3, 5, 7, 11), leaf(5, 1, 11)];
    return withGradients(a.mul(b).exp().add(a.leakyRelu(0.3)).mul(0.7), [a, b]);
  },
  "sums, means, largest": () => {
    const x = leaf(3, 5, 7, 129);
    return [x.sum([0, 2]), x.mean([3]), x.max([1])].flatMap((y) => withGradients(y, [x]));
  },
  "log softmax and gather": () => {
    const x = leaf(6, 19);
    const index = tensor([[3], [0], [18], [7], [7], [1]], { dtype: "i32" });
    return withGradients(gather(logSoftmax(x, 1), index, 1), [x]);
  },
  "batch norm": () => {
    const leaves = [leaf(4, 6, 9, 7), leaf(6), leaf(6)];
    const [x, weight, bias] = leaves;
    return withGradients(batchNorm(x, weight, bias), leaves);
  },
  "pooling and upsampling": () => {
    const x = leaf(2, 5, 15, 13);
    const options = { kernelSize: 3, stride: 2, padding: 1 };
    return [
      maxPool2d(x, options),
      avgPool2d(x, options),
      avgPool2d(x, { kernelSize: 2 }),
      upsample(x, { scaleFactor: 2 }),
    ].flatMap((y) => withGradients(y, [x]));
  },
  "three steps of a CSPDenseNet with SGD and one with Adam, with dropout": () => {
    const model = cspDenseNet({
      blocks: [2, 2],
      growthRate: 8,
      stemChannels: 16,
      classes: 10,
      fusion: "last",
    });
    const optimizers = [
      new optim.SGD(model.parameters(), { lr: 0.1, momentum: 0.9, weightDecay: 1e-4 }),
      new optim.Adam(model.parameters(), { lr: 1e-3 }),
    ];
    const images = drawn(4, 3, 64, 64);
    const labels = tensor([0, 1, 2, 3], { dtype: "i32" });
    for (const optimizer of [0, 0, 0, 1].map((i) => optimizers[i])) {
      optimizer.zeroGrad();
      nn.crossEntropy(dropout(model.forward(images), 0.3), labels).backward();
      optimizer.step();
    }
    return [...model.stateDict()].map(([, x]) => x);
  },
};

describe.runIf(has)("tensors beyond 4 GiB", () => {
  it.each(Object.entries(cases))("have the bits that they have in 32-bit memory: %s", (_, work) => {
    const [narrow, wide] = inBoth(work);
    expect(wide).toEqual(narrow);
    expect(narrow.flat().some((bits) => bits !== 0)).toBe(true);
    expect(warn).not.toHaveBeenCalled();
  });

  it("may be as many as fit into 16 GiB; one of 2 GiB or more goes through loops, which is said", () => {
    if (!webAssembly) throw new Error("this engine has no WebAssembly");
    const memory = new SharedMemory(webAssembly, undefined, "i64");
    expect(memory.limitBytes).toBe(2 ** 34);
    expect(memory.holds(memory.allocate("f32", 2 ** 28))).toBe(true);
    expect(warn).not.toHaveBeenCalled();
    for (let i = 0; i < 2; i++) expect(memory.holds(memory.allocate("f32", 2 ** 29))).toBe(false);
    expect(warn.mock.calls).toEqual([[expect.stringMatching(/2 GiB or more.*plain loops/)]]);
    expect(() => memory.allocate("f32", 2 ** 32)).toThrow("do not fit into the 16384.0 MiB");
    expect(memory.remedy).toBeUndefined();
  });

  it("are made of free neighbours before memory grows", () => {
    if (!webAssembly) throw new Error("this engine has no WebAssembly");
    const memory = new SharedMemory(webAssembly, undefined, "i64");
    const blocks = [1, 2, 3].map(() => memory.allocateBytes(3 * 2 ** 29));
    const { reservedBytes } = memory;
    for (const block of blocks.slice(0, 2)) memory.releaseBytes(block, 3 * 2 ** 29);
    expect(memory.allocateBytes(3 * 2 ** 30)).toBe(blocks[0]);
    expect(memory.reservedBytes).toBe(reservedBytes);
    expect(memory.allocateBytes(2 ** 20)).toBeGreaterThan(blocks[2]);
  });
});

describe("64-bit memory", () => {
  it("is off unless the option or the environment asks for it", () => {
    const bits = (options?: Parameters<typeof createCpuBackend>[0]) =>
      createCpuBackend(options).info().memory.addressBits;
    vi.stubEnv("GRADWEAVE_MEMORY64", undefined);
    expect(bits()).toBe(32);
    vi.stubEnv("GRADWEAVE_MEMORY64", "0");
    expect([bits(), bits({ memory64: true })]).toEqual([32, has ? 64 : 32]);
    vi.stubEnv("GRADWEAVE_MEMORY64", "1");
    expect([bits(), bits({ memory64: false })]).toEqual([has ? 64 : 32, 32]);
    expect(bits({ wasm: false })).toBeNull();
    vi.stubEnv("GRADWEAVE_MEMORY64", "yes");
    expect(() => createCpuBackend()).toThrow('GRADWEAVE_MEMORY64 is "yes"; it may be 0 or 1');
  });

  it("is named where 32 bits do not suffice, if the engine has it", () => {
    const backend = createCpuBackend({ memory64: false });
    const text = (() => {
      try {
        backend.allocate("f32", 2 ** 30, "activations");
      } catch (error) {
        return String(error);
      }
      return "";
    })();
    expect(text).toMatch(/smaller batch, checkpoint\(\)/);
    expect(text.includes("createCpuBackend({ memory64: true }) or GRADWEAVE_MEMORY64=1")).toBe(has);
  });

  it("is missed with one warning, and tensors stay within 4 GiB", async () => {
    if (!webAssembly) throw new Error("this engine has no WebAssembly");
    const { Module, Instance, Memory } = webAssembly;
    const engine = webAssembly;
    // The import's last bytes say: a memory, with 64-bit addresses, shared, with a maximum.
    const isWide = (bytes: Uint8Array) => Buffer.from(bytes).includes(Buffer.from("memory\x02\x07"));
    const validate = (bytes: Uint8Array<ArrayBuffer>) => !isWide(bytes) && engine.validate(bytes);
    vi.stubGlobal("WebAssembly", { Module, Instance, Memory, validate });
    vi.resetModules();
    const without = await import("../src/backends/cpu/index.ts");
    const backends = [1, 2].map(() => without.createCpuBackend({ memory64: true }));
    expect(backends.map((backend) => backend.info().memory)).toMatchObject(
      backends.map(() => ({ addressBits: 32, limitBytes: 2 ** 32 })),
    );
    expect(warn.mock.calls).toEqual([
      [expect.stringMatching(/no 64-bit WebAssembly memory .*Node 24.*4 GiB/)],
    ]);
    expect(() => backends[0].allocate("f32", 2 ** 30, "activations")).toThrow(/run steps in scope\(\)$/);
  });
});
