/** A backward pass frees what it no longer needs, and nothing that somebody may still read. */
import { describe, expect, it } from "vitest";
import { grad, memoryReport, mul, randn, resetPeakMemory, scope, type Tensor } from "../src/index.ts";

const bytes = 4 * 1024;
/** The gradient that the pass begins with. */
const one = 4;
const leaf = (): Tensor => {
  const x = randn([1024]);
  x.requiresGrad = true;
  return x;
};

/** x · y, `depth` times over. */
function chain(x: Tensor, y: Tensor, depth: number): Tensor {
  let z = x;
  for (let i = 0; i < depth; i++) z = mul(z, y);
  return z;
}

/** What the pass adds to the memory in use at most. */
function peakOf(depth: number): number {
  return scope(() => {
    const [x, y] = [leaf(), leaf()];
    const loss = chain(x, y, depth).sum();
    resetPeakMemory();
    const before = memoryReport().liveBytes;
    loss.backward();
    return memoryReport().peakBytes - before;
  });
}

describe("memory of a backward pass", () => {
  it("does not grow with the number of ops", () => {
    expect(peakOf(100)).toBe(peakOf(10));
    expect(peakOf(10)).toBeLessThan(10 * bytes);
  });

  it("ends with the gradients and nothing else", () => {
    scope(() => {
      const [x, y] = [leaf(), leaf()];
      const loss = chain(x, y, 20).sum();
      const before = memoryReport().liveBytes;
      loss.backward();
      expect(memoryReport().liveBytes - before).toBe(2 * bytes + one);
    });
  });

  it("leaves what a hook was shown and what it made to the scope", () => {
    scope(() => {
      const [x, y] = [leaf(), leaf()];
      const seen: Tensor[] = [];
      const middle = mul(x, y);
      middle.registerHook((gradient) => {
        const doubled = mul(gradient, 2);
        seen.push(gradient, doubled);
        return doubled;
      });
      chain(middle, y, 3).sum().backward();
      const [shown, made] = seen.map((tensor) => tensor.dataSync());
      expect(made).toEqual(shown.map((value) => 2 * value));
    });
  });

  it("leaves the results of grad, and gradients that share memory", () => {
    const [x, y] = [leaf(), leaf()];
    const doubled = x.add(x);
    const viewed = doubled.reshape([32, 32]).transpose().reshape([1024]);
    const [byX, byDoubled] = scope(() => grad(mul(viewed, y).sum(), [x, doubled]));
    const expected = y.reshape([32, 32]).transpose().reshape([1024]).dataSync();
    expect(byDoubled.dataSync()).toEqual(expected);
    expect(byX.dataSync()).toEqual(expected.map((value) => 2 * value));
  });

  it("frees after an error too", () => {
    scope(() => {
      const [x, y] = [leaf(), leaf()];
      const middle = mul(x, y);
      middle.registerHook(() => {
        throw new Error("no further");
      });
      const loss = chain(middle, y, 5).sum();
      const before = memoryReport().liveBytes;
      expect(() => loss.backward()).toThrow("no further");
      // What the hook was shown is its own.
      expect(memoryReport().liveBytes - before).toBeLessThanOrEqual(bytes + one);
    });
  });
});
