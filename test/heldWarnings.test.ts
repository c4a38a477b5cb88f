/** A warning about the engine belongs to the first use of the library, not to its import. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

const warn = vi.spyOn(console, "warn").mockImplementation(() => undefined);

beforeEach(() => {
  warn.mockClear();
  vi.resetModules();
});
afterEach(() => vi.unstubAllGlobals());

describe("warnings about the engine", () => {
  it("wait for the first tensor, and come once", async () => {
    vi.stubGlobal("WebAssembly", undefined);
    const { zeros } = await import("../src/index.ts");
    expect(warn).not.toHaveBeenCalled();
    zeros([2]);
    zeros([2]);
    expect(warn.mock.calls).toEqual([[expect.stringMatching(/^gradweave: this engine has no WebAssembly/)]]);
  });

  it("come at once with a backend of one's own, and are not said again by another", async () => {
    vi.stubGlobal("WebAssembly", undefined);
    const { createCpuBackend } = await import("../src/backends/cpu/index.ts");
    createCpuBackend();
    createCpuBackend();
    expect(warn).toHaveBeenCalledTimes(1);
  });

  it("that were held back are said when asked, in order, and once", async () => {
    const { holdWarnings, warnOnce } = await import("../src/backends/cpu/warnOnce.ts");
    const { result, say } = holdWarnings(() => {
      warnOnce("a");
      warnOnce("b");
      return 3;
    });
    expect(result).toBe(3);
    expect(warn).not.toHaveBeenCalled();
    warnOnce("b");
    say();
    say();
    expect(warn.mock.calls).toEqual([["gradweave: b"], ["gradweave: a"]]);
  });

  it("are no longer held back after a body that throws", async () => {
    const { holdWarnings, warnOnce } = await import("../src/backends/cpu/warnOnce.ts");
    const fail = () => {
      throw new Error("no");
    };
    expect(() => holdWarnings(fail)).toThrow("no");
    warnOnce("a");
    expect(warn).toHaveBeenCalledTimes(1);
  });
});
