/** The allocator in shared WebAssembly memory: blocks never overlap, are found again, and outlive growth. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { webAssembly } from "../src/backends/cpu/wasm/encoder/index.ts";
import { SharedMemory, sizeClass } from "../src/backends/cpu/wasm/sharedMemory.ts";
import type { DType } from "../src/backends/dtype.ts";

function memory(maximumPages?: number): SharedMemory {
  if (!webAssembly) throw new Error("this engine has no WebAssembly");
  return new SharedMemory(webAssembly, maximumPages);
}

describe("SharedMemory", () => {
  it("wastes at most an eighth on its size classes", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 33 }), (bytes) => {
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

  it("makes no new array where tensors of a few kinds take turns at an address", () => {
    const shared = memory();
    const kinds = [
      ["f32", 1000],
      ["f32", 1001],
      ["i32", 1000],
    ] as const;
    const turn = () =>
      kinds.map(([dtype, length]) => {
        const array = shared.allocate(dtype, length);
        shared.release(dtype, array);
        return array;
      });
    const first = turn();
    expect(new Set(first.map((array) => array.byteOffset)).size).toBe(1);
    for (const [i, array] of turn().entries()) expect(array).toBe(first[i]);
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

  it("knows arrays that others make on it, also when it has grown since it made one itself", () => {
    const shared = memory();
    shared.allocate("f32", 4);
    const address = shared.allocateBytes(160 << 20);
    expect(shared.holds(new Float32Array(shared.memory.buffer, address, 4))).toBe(true);
  });

  it("refuses what 32-bit addresses do not reach", () => {
    expect(() => memory().allocate("u8", 2 ** 32)).toThrow(
      "4096.0 MiB do not fit into the 4096.0 MiB that it may have: 0.0 MiB are taken, 0.0 MiB lie free",
    );
  });

  it("joins free blocks of other sizes when its end cannot move", () => {
    const shared = memory(16);
    expect(shared.limitBytes).toBe(2 ** 20);
    const blocks = Array.from({ length: 15 }, () => shared.allocate("u8", 65536));
    expect(() => shared.allocate("u8", 131072)).toThrow(/0.1 MiB do not fit .* 0.0 MiB lie free/);
    for (const i of [3, 9, 4, 12]) shared.release("u8", blocks[i]);
    const pooled = shared.pooledBytes;
    // Blocks 3 and 4 are neighbours.
    expect(shared.allocate("u8", 131072).byteOffset).toBe(blocks[3].byteOffset);
    expect(shared.pooledBytes).toBe(pooled - 131072);
    expect(() => shared.allocate("u8", 131072)).toThrow(/0.1 MiB lie free between them, 0.1 MiB at most/);
    expect(
      new Set([shared.allocate("u8", 65536), shared.allocate("u8", 65536)].map((a) => a.byteOffset)),
    ).toEqual(new Set([blocks[9].byteOffset, blocks[12].byteOffset]));
    expect(shared.pooledBytes).toBe(0);
  });

  it("loses no memory: whatever was allocated and released, all of it can be had again in one piece", () => {
    const command = fc.record({
      bytes: fc.integer({ min: 1, max: 60_000 }),
      keep: fc.nat(5),
      which: fc.nat(99),
    });
    fc.assert(
      fc.property(fc.array(command, { maxLength: 120 }), (commands) => {
        const shared = memory(6);
        const live: ReturnType<SharedMemory["allocate"]>[] = [];
        for (const { bytes, keep, which } of commands) {
          while (live.length > keep) shared.release("u8", live.splice(which % live.length, 1)[0]);
          try {
            const array = shared.allocate("u8", bytes);
            array.fill(live.length + 1);
            for (const other of live) {
              const apart =
                other.byteOffset + other.byteLength <= array.byteOffset ||
                array.byteOffset + array.byteLength <= other.byteOffset;
              expect(apart).toBe(true);
            }
            live.push(array);
          } catch (error) {
            if (!(error instanceof RangeError)) throw error;
          }
        }
        for (const array of live) shared.release("u8", array);
        const all = 5 * 65536;
        expect(shared.allocate("u8", all).byteLength).toBe(all);
      }),
      { numRuns: 300 },
    );
  });

  it("does not grow while steps repeat", () => {
    const shared = memory(64);
    const step = () => {
      const arrays = [3000, 70_000, 500, 123_456, 70_000].map((length) => shared.allocate("f32", length));
      for (const array of arrays) shared.release("f32", array);
    };
    step();
    const { pooledBytes } = shared;
    for (let i = 0; i < 100; i++) step();
    expect(shared.pooledBytes).toBe(pooledBytes);
  });
});
