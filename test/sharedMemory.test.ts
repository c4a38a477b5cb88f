/** The allocator in shared WebAssembly memory: blocks never overlap, are found again, and outlive growth. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { webAssembly } from "../src/backends/cpu/wasm/encoder/index.ts";
import { SharedMemory, sizeClass } from "../src/backends/cpu/wasm/sharedMemory.ts";
import type { DType } from "../src/backends/dtype.ts";

function memory(): SharedMemory {
  if (!webAssembly) throw new Error("this engine has no WebAssembly");
  return new SharedMemory(webAssembly);
}

describe("SharedMemory", () => {
  it("wastes at most an eighth on its size classes", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 31 }), (bytes) => {
        const size = sizeClass(bytes);
        expect(size).toBeGreaterThanOrEqual(bytes);
        expect(size % 64).toBe(0);
        if (bytes >= 512) expect(size).toBeLessThanOrEqual(bytes * 1.125 + 64);
        expect(sizeClass(size)).toBe(size);
      }),
    );
  });

  it("gives arrays that do not overlap, in any order of allocating and releasing", () => {
    const dtypes: DType[] = ["f32", "f64", "i32", "u8", "bool"];
    const command = fc.record({
      dtype: fc.constantFrom(...dtypes),
      length: fc.nat(3000),
      release: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(command, { maxLength: 60 }), (commands) => {
        const shared = memory();
        const live: { dtype: DType; array: ReturnType<SharedMemory["allocate"]>; mark: number }[] = [];
        commands.forEach(({ dtype, length, release }, i) => {
          const oldest = release ? live.shift() : undefined;
          if (oldest) shared.release(oldest.dtype, oldest.array);
          const array = shared.allocate(dtype, length);
          expect(array.length).toBe(length);
          expect(array.byteOffset % 64).toBe(0);
          expect(shared.holds(array)).toBe(true);
          array.fill(i % 2);
          live.push({ dtype, array, mark: i % 2 });
        });
        for (const { array, mark } of live) expect(array.every((value) => value === mark)).toBe(true);
      }),
      { numRuns: 50 },
    );
  });

  it("hands a released block to the next tensor of its size", () => {
    const shared = memory();
    const first = shared.allocate("f32", 1000);
    shared.release("f32", first);
    expect(shared.pooledBytes).toBeGreaterThanOrEqual(4000);
    expect(shared.allocate("f32", 1000).byteOffset).toBe(first.byteOffset);
    expect(shared.pooledBytes).toBe(0);
  });

  it("keeps arrays valid when it grows", () => {
    const shared = memory();
    const early = shared.allocate("f32", 4);
    early.fill(7);
    const late = shared.allocate("f32", 40 << 20);
    late.fill(1);
    expect([...early]).toEqual([7, 7, 7, 7]);
    expect(shared.holds(early) && shared.holds(late)).toBe(true);
    expect(shared.holds(new Float32Array(4))).toBe(false);
  });

  it("knows its arrays after another memory has grown", () => {
    const shared = memory();
    const before = shared.allocate("f32", 4);
    memory().allocate("f32", 40 << 20);
    const after = shared.allocate("f32", 8);
    expect(shared.holds(before) && shared.holds(after)).toBe(true);
  });

  it("refuses what 32-bit addresses do not reach", () => {
    expect(() => memory().allocate("u8", 2 ** 32)).toThrow(/exceed the 4 GiB/);
  });
});
