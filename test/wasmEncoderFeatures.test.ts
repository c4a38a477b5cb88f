/** What this engine's WebAssembly can do, and the flag for relaxed SIMD. The cases are in an order: a flag stays set. */
import { afterEach, describe, expect, it, vi } from "vitest";
import { enableRelaxedSimd, ModuleBuilder, wasmFeatures } from "../src/backends/cpu/wasm/encoder/index.ts";
import { instantiate } from "./support/wasm.ts";

describe("features", () => {
  afterEach(() => {
    vi.unstubAllEnvs();
    vi.unstubAllGlobals();
    vi.resetModules();
  });

  const before = wasmFeatures();

  it("finds SIMD and threads, which all supported engines have", () => {
    expect(before).toMatchObject({ simd: true, threads: true });
  });

  it("has no threads without SharedArrayBuffer", () => {
    vi.stubGlobal("SharedArrayBuffer", undefined);
    expect(wasmFeatures()).toEqual({ ...before, threads: false });
  });

  it("has nothing without WebAssembly", async () => {
    vi.stubGlobal("WebAssembly", undefined);
    vi.resetModules();
    const without = await import("../src/backends/cpu/wasm/encoder/index.ts");
    expect(without.webAssembly).toBeUndefined();
    expect(without.wasmFeatures()).toEqual({ simd: false, relaxedSimd: false, threads: false });
    expect(without.enableRelaxedSimd()).toBe("missing");
  });

  it("leaves relaxed SIMD as it was when it is refused, by option or by environment", () => {
    expect(enableRelaxedSimd({ exact: true })).toBe("refused");
    vi.stubEnv("GRADWEAVE_EXACT", "1");
    expect(enableRelaxedSimd()).toBe("refused");
    expect(wasmFeatures()).toEqual(before);
  });

  it("does not throw where there is no process, as in browsers, or no such built-in module", () => {
    const found = before.relaxedSimd ? "built in" : "missing";
    vi.stubGlobal("process", undefined);
    expect(enableRelaxedSimd()).toBe(found);
    vi.stubGlobal("process", {});
    expect(enableRelaxedSimd()).toBe(found);
  });

  it("is there once asked for, and rounds once", () => {
    vi.stubEnv("GRADWEAVE_EXACT", "0");
    for (const _ of ["first", "again"])
      expect(enableRelaxedSimd()).toBe(before.relaxedSimd ? "built in" : "by flag");
    expect(wasmFeatures().relaxedSimd).toBe(true);
    const module = new ModuleBuilder();
    module.func("fma", { params: { a: "f32", b: "f32", c: "f32" }, result: "f32" }, (f, { a, b, c }) => {
      const { f32x4 } = f;
      return f32x4.extract_lane(f32x4.relaxed_madd(f32x4.splat(a), f32x4.splat(b), f32x4.splat(c)), 0);
    });
    const x = 1 + 2 ** -23;
    // (1 + u)^2 - (1 + 2u) is u^2, or 0 where the product is rounded first, as machines without the instruction do.
    expect([2 ** -46, 0]).toContain(instantiate(module).fma?.(x, x, -(1 + 2 ** -22)));
  });
});
