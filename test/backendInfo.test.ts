/** What `info()` says, how experimental V8 flags are refused and dropped, and how the backend does without. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createCpuBackend } from "../src/backends/cpu/index.ts";
import { webAssembly } from "../src/backends/cpu/wasm/encoder/index.ts";
import { selfCheck } from "../src/backends/cpu/wasm/selfCheck.ts";
import { setUpSimd } from "../src/backends/cpu/wasm/simd.ts";
import { ones } from "../src/index.ts";
import { countingRuntime } from "./support/threads.ts";

function engine() {
  if (!webAssembly) throw new Error("these tests need WebAssembly");
  return webAssembly;
}

const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
beforeEach(() => warn.mockClear());
afterEach(() => {
  vi.unstubAllEnvs();
  vi.unstubAllGlobals();
  vi.resetModules();
});

/** The modules anew: each copy warns for itself. */
const fresh = () => import("../src/backends/cpu/index.ts");

describe("info()", () => {
  it("names threads, vectors, flags, the self-check and memory", () => {
    const backend = createCpuBackend({ threads: 2, memory64: false });
    const before = backend.info();
    expect(before).toMatchObject({ name: "cpu", threads: 2, selfCheck: "passed" });
    expect(["relaxed", "revectorised"]).toContain(before.simd);
    for (const { state } of before.flags) expect(state).toBe("accepted");
    expect(before.memory).toMatchObject({ limitBytes: 2 ** 32, addressBits: 32 });
    const x = ones([1000], { backend });
    const { memory } = backend.info();
    expect(memory.liveBytes).toBe(4000);
    expect(memory.reservedBytes).toBeGreaterThanOrEqual(memory.liveBytes + memory.pooledBytes);
    x.dispose();
    expect(backend.info().memory).toMatchObject({ liveBytes: 0, pooledBytes: 4096 });
  });

  it("is plain about plain loops", () => {
    const { simd, threads, flags, selfCheck, memory } = createCpuBackend({ wasm: false }).info();
    expect({ simd, threads, flags, selfCheck }).toEqual({
      ...{ simd: "none", threads: 1, flags: [], selfCheck: "none" },
    });
    expect(memory.limitBytes).toBeNull();
  });
});

describe("an allocation beyond the limit", () => {
  it("says what is using the memory and what to do", () => {
    const backend = createCpuBackend({ memory64: false });
    backend.allocate("f32", 3 << 20, "activations");
    backend.allocate("f32", 1 << 20, "weights");
    expect(() => backend.allocate("f32", 2 ** 30, "activations")).toThrow(
      /cannot allocate 1073741824 elements of f32 \(16 MiB are in use, activations 12 MiB, weights 4 MiB; WebAssembly memory: 4096.0 MiB do not fit .*smaller batch, checkpoint\(\)/,
    );
  });
});

describe("experimental V8 flags", () => {
  it("pass the self-check, and it fails on wrong numbers", () => {
    for (const fused of [false, true]) expect(selfCheck(engine(), fused, true)).toBe(true);
    const broken = {
      ...{ validate: engine().validate, Module: engine().Module, Memory: engine().Memory },
      Instance: class {
        readonly exports = { check: () => {} };
      },
    };
    expect(selfCheck(broken, false, false)).toBe(false);
  });

  it("are refused by option and by environment", () => {
    const refused = setUpSimd(engine(), { v8Flags: false });
    expect(refused.revectorised).toBe(false);
    expect(refused.flags.every(({ state }) => state === "refused")).toBe(true);
    vi.stubEnv("GRADWEAVE_V8_FLAGS", "off");
    expect(setUpSimd(engine())).toEqual(refused);
    vi.stubEnv("GRADWEAVE_V8_FLAGS", "no");
    expect(() => setUpSimd(engine())).toThrow('GRADWEAVE_V8_FLAGS is "no"; it may be on or off');
  });

  it("are dropped, with one warning, when the self-check fails with them", () => {
    const before = setUpSimd(engine());
    const accepted = before.flags.length;
    // As if every experiment computed wrong numbers.
    let left = accepted;
    const check = () => left-- <= 0;
    const after = setUpSimd(engine(), { check });
    expect(after.selfCheck).toBe("passed");
    expect(after.flags.every(({ state }) => state === "dropped")).toBe(true);
    expect(after.revectorised).toBe(false);
    expect(warn).toHaveBeenCalledTimes(accepted > 0 ? 1 : 0);
    left = accepted;
    setUpSimd(engine(), { check });
    expect(warn).toHaveBeenCalledTimes(accepted > 0 ? 1 : 0);
    if (accepted > 0)
      expect(warn).toHaveBeenCalledWith(expect.stringMatching(/wrong numbers.*GRADWEAVE_V8_FLAGS=off/));
  });

  it("are not to blame when the self-check fails without them", () => {
    expect(setUpSimd(engine(), { check: () => false })).toMatchObject({ level: "none", selfCheck: "failed" });
    expect(warn).not.toHaveBeenCalled();
  });
});

describe("what the engine lacks", () => {
  it("is said once: shared memory", async () => {
    const { createCpuBackend } = await fresh();
    vi.stubGlobal("SharedArrayBuffer", undefined);
    const backends = [createCpuBackend(), createCpuBackend()];
    expect(backends.map((backend) => backend.info().simd)).toEqual(["none", "none"]);
    expect(warn.mock.calls).toEqual([
      [expect.stringMatching(/SharedArrayBuffer is missing.*COOP.*plain loops/)],
    ]);
  });

  it("is said once: WebAssembly", async () => {
    vi.stubGlobal("WebAssembly", undefined);
    const { createCpuBackend } = await fresh();
    createCpuBackend();
    createCpuBackend();
    expect(warn.mock.calls).toEqual([[expect.stringMatching(/no WebAssembly .*plain loops/)]]);
  });

  it("is said once: worker threads, when there is work for them", () => {
    const { runtime, memory, count } = countingRuntime(2);
    vi.stubGlobal("process", {});
    const [counts, owners] = [memory.allocate("i32", 100), memory.allocate("i32", 100)];
    counts.fill(0);
    for (let turn = 0; turn < 3; turn++)
      runtime.forRange(count, 100, [counts.byteOffset, owners.byteOffset, 1, 0], { scratchBytes: 64 });
    expect(counts[99]).toBe(300);
    expect(warn.mock.calls).toEqual([[expect.stringMatching(/no worker threads.*GRADWEAVE_THREADS=1/)]]);
  });
});
