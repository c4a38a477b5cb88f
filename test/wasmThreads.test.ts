/** Threads on shared memory: every item is done once by someone, errors surface, and the process still ends. */
import { execFile } from "node:child_process";
import { resolve } from "node:path";
import { promisify } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import type { HostView } from "../src/backends/backend.ts";
import { threadCount } from "../src/backends/cpu/wasm/threads/count.ts";
import { allRunning, countingRuntime } from "./support/threads.ts";

const root = resolve(import.meta.dirname, "..");

/** Repeats for as long as a busy machine may keep a thread from running, or until the body says so. */
function again(body: () => unknown): void {
  const end = performance.now() + 15_000;
  while (performance.now() < end) if (body() === "enough") return;
}

describe.each([1, 2, 3, 5])("%s threads", (threads) => {
  const { runtime, memory, count, digit, mix, waiting, trapOutside, trapInside } = countingRuntime(threads);
  const room = 2000;
  const counts = memory.allocate("i32", room);
  const owners = memory.allocate("i32", room);
  const begin = (items: number, value: number, turns: number, grain: number): void => {
    const args = [counts.byteOffset, owners.byteOffset, value, turns];
    runtime.forRange(count, items, args, { scratchBytes: 64, grain });
  };
  const run = (...call: Parameters<typeof begin>): void => {
    begin(...call);
    runtime.settle();
  };
  afterAll(() => runtime.pool.close());

  it("do every item once, whatever the grain, while they start and afterwards", async () => {
    const check = (items: number, value: number, grain: number) => {
      counts.fill(0);
      run(items, value, 3, grain);
      expect([...counts.subarray(0, items + 1)]).toEqual([
        ...Array.from({ length: items }, (_, i) => i + value),
        0,
      ]);
    };
    check(1500, 7, 1);
    await allRunning(runtime.pool, () => run(100, 1, 0, 1));
    fc.assert(fc.property(fc.nat(1999), fc.nat(1000), fc.integer({ min: 1, max: 700 }), check), {
      numRuns: 300,
    });
  });

  it("work at the same time, each on scratch memory of its own", async () => {
    await allRunning(runtime.pool, () => run(100, 1, 0, 1));
    const seen = new Set<number>();
    again(() => {
      run(40, 0, 20_000, 1);
      for (const address of owners.subarray(0, 40)) seen.add(address);
      return seen.size < threads ? "more" : "enough";
    });
    expect(seen.size).toBe(threads);
    const addresses = [...seen].sort((a, b) => a - b);
    for (const [i, address] of addresses.slice(1).entries())
      expect(address - addresses[i]).toBeGreaterThanOrEqual(128);
  });

  it("leave ranges below two grains to the main thread", () => {
    run(100, 0, 0, 51);
    expect(new Set(owners.subarray(0, 100)).size).toBe(1);
  });

  it("never mix the arguments of one command into another", async () => {
    await allRunning(runtime.pool, () => run(100, 1, 0, 1));
    for (let turn = 0; turn < 20_000; turn++) {
      const items = 2 + (turn % 61);
      counts.fill(0, 0, items);
      run(items, turn, turn % 5, 1 + (turn % 7));
      for (let i = 0; i < items; i++)
        if (counts[i] !== i + turn) throw new Error(`turn ${turn}: item ${i} of ${items} is ${counts[i]}`);
    }
  });

  it("see memory that has grown since they started", async () => {
    await allRunning(runtime.pool, () => run(100, 1, 0, 1));
    const far = memory.allocate("i32", 60 << 20);
    runtime.forRange(count, 1000, [far.byteOffset + 4 * (far.length - 1000), owners.byteOffset, 5, 10]);
    runtime.settle();
    expect(far.at(-1)).toBe(1004);
  });

  it("finish a command that says nothing before anyone begins the next, without being waited for", async () => {
    await allRunning(runtime.pool, () => run(100, 1, 0, 1));
    fc.assert(
      fc.property(
        fc.array(
          fc.record({ items: fc.integer({ min: 1, max: 300 }), grain: fc.integer({ min: 1, max: 200 }) }),
        ),
        fc.nat(200),
        (commands, turns) => {
          counts.fill(0);
          const args = commands.map((_, i) => [counts.byteOffset, owners.byteOffset, i, turns]);
          for (const [i, { items, grain }] of commands.entries())
            runtime.forRange(digit, items, args[i], { scratchBytes: 64, grain });
          runtime.settle();
          const expected = new Int32Array(300);
          for (const [i, { items }] of commands.entries())
            for (let item = 0; item < items; item++) expected[item] = Math.imul(expected[item], 31) + i;
          expect([...counts.subarray(0, 300)]).toEqual([...expected]);
        },
      ),
      { numRuns: 200 },
    );
  });

  const integers = (data: Int32Array, offset: number, length: number): HostView => ({
    ...{ dtype: "i32", data, offset },
    ...{ shape: [length], strides: [1] },
  });
  /** Runs a range that says what it touches. */
  const runKernel = (inputs: readonly HostView[], output: HostView, body: () => void): void => {
    runtime.beginKernel("pointwise", inputs, output);
    body();
    runtime.endKernel();
  };

  it("do what touches the same memory in order, and the rest in any", async () => {
    await allRunning(runtime.pool, () => run(100, 1, 0, 1));
    const [regions, items] = [5, 60];
    const data = memory.allocate("i32", regions * items);
    if (!(data instanceof Int32Array)) throw new Error("i32 must be integers");
    const region = fc.nat(regions - 1);
    const command = fc.record({
      from: region,
      to: region,
      grain: fc.integer({ min: 1, max: 40 }),
      turns: fc.nat(300),
    });
    fc.assert(
      fc.property(fc.array(command, { maxLength: 40 }), (commands) => {
        data.fill(1);
        const expected = new Int32Array(data.length).fill(1);
        for (const [value, { from, to, grain, turns }] of commands.entries()) {
          const [read, written] = [from, to].map((at) => integers(data, at * items, items));
          const [readAt, writtenAt] = [from, to].map((at) => data.byteOffset + 4 * at * items);
          runKernel([read], written, () =>
            runtime.forRange(mix, items, [readAt, writtenAt, value, turns], { scratchBytes: 64, grain }),
          );
          for (let i = 0; i < items; i++) {
            const before = Math.imul(expected[to * items + i], 31);
            expected[to * items + i] = before + expected[from * items + i] + value;
          }
        }
        runtime.settle();
        expect([...data]).toEqual([...expected]);
      }),
      { numRuns: 200 },
    );
  });

  it.skipIf(threads === 1)("begin a command while one goes on that touches other memory", async () => {
    await allRunning(runtime.pool, () => run(100, 1, 0, 1));
    const words = memory.allocate("i32", 64);
    if (!(words instanceof Int32Array)) throw new Error("i32 must be integers");
    const [flag, seen] = [0, 32];
    // The main thread may be the one that waits, in vain.
    again(() => {
      words.fill(0);
      runKernel([], integers(words, seen, 1), () =>
        runtime.forRange(waiting, 2, [words.byteOffset + 4 * flag, words.byteOffset + 4 * seen, 1e7]),
      );
      runKernel([], integers(words, flag, 1), () =>
        runtime.forRange(digit, 1, [words.byteOffset + 4 * flag, 0, 1, 0], { scratchBytes: 64 }),
      );
      runtime.settle();
      return words[seen] === 1 ? "enough" : "more";
    });
    expect(words[seen]).toBe(1);
  });

  it("throw what happens on the main thread, and work on", async () => {
    await allRunning(runtime.pool, () => run(100, 1, 0, 1));
    // One item is not worth another thread.
    run(1, 0, 0, 1);
    const [main] = owners;
    // Others may be quick enough to leave nothing to the main thread.
    const fail = () =>
      again(() => {
        runtime.forRange(trapInside, 50, [main], { scratchBytes: 64 });
        runtime.settle();
      });
    expect(fail).toThrow(/unreachable/);
    run(100, 3, 0, 1);
    expect(owners[0]).toBeGreaterThan(0);
  });

  it.skipIf(threads === 1)("name the kernel that failed on another thread, and work on", async () => {
    await allRunning(runtime.pool, () => run(100, 1, 0, 1));
    // One item is not worth another thread.
    run(1, 0, 0, 1);
    const [main] = owners;
    const fail = () =>
      again(() => {
        runtime.forRange(trapOutside, 50, [main], { scratchBytes: 64 });
        runtime.settle();
      });
    expect(fail).toThrow(
      /worker thread failed in trapOutside: RuntimeError: unreachable.*GRADWEAVE_THREADS=1/,
    );
    counts.fill(0);
    run(100, 3, 0, 1);
    expect(counts[99]).toBe(102);
  });

  it("refuse more arguments than a command holds, before anyone works", async () => {
    if (threads === 1) return;
    await allRunning(runtime.pool, () => run(100, 1, 0, 1));
    expect(() => runtime.forRange(count, 100, Array(63).fill(0))).toThrow(/count: 63 arguments.*62 at most/);
  });

  it("do everything on the main thread once closed", async () => {
    await runtime.pool.close();
    counts.fill(0);
    run(100, 3, 0, 1);
    expect(counts[99]).toBe(102);
    expect(runtime.pool.running).toBe(0);
  });
});

describe("a runtime that nobody uses any more", () => {
  /** Its pool, with workers running, and nothing else of it. */
  async function abandonedPool(): Promise<WeakRef<object>> {
    const { runtime, memory, count } = countingRuntime(2);
    const { byteOffset } = memory.allocate("i32", 100);
    await allRunning(runtime.pool, () =>
      runtime.forRange(count, 100, [byteOffset, byteOffset, 0, 0], { scratchBytes: 64 }),
    );
    return new WeakRef(runtime.pool);
  }

  it("is collected with its memory, workers or not", async () => {
    setFlagsFromString("--expose-gc");
    const collect: () => void = runInNewContext("gc");
    const pool = await abandonedPool();
    for (let turn = 0; turn < 50 && pool.deref(); turn++) {
      await new Promise((done) => setTimeout(done, 10));
      collect();
    }
    expect(pool.deref()).toBeUndefined();
  });
});

describe("the number of threads", () => {
  afterEach(() => vi.unstubAllEnvs());

  it("is the option, then GRADWEAVE_THREADS, then what the machine has", () => {
    vi.stubEnv("GRADWEAVE_THREADS", "3");
    expect(threadCount(2)).toBe(2);
    expect(threadCount()).toBe(3);
    vi.stubEnv("GRADWEAVE_THREADS", "");
    expect(threadCount()).toBeGreaterThanOrEqual(1);
  });

  it("is refused when it is no number of threads", () => {
    for (const wrong of [0, -1, 1.5, Number.NaN, 129])
      expect(() => threadCount(wrong)).toThrow(/option threads is .*from 1 to 128/);
    for (const wrong of ["0", "two", "1.5", "1e9"]) {
      vi.stubEnv("GRADWEAVE_THREADS", wrong);
      expect(() => threadCount()).toThrow(
        `GRADWEAVE_THREADS is "${wrong}", but threads are counted from 1 to 128`,
      );
    }
  });
});

describe("a process that used threads", () => {
  const program = (end: string) => `
    import { randn, defaultBackend } from "./src/index.ts";
    const x = randn([64, 64, 32, 32]);
    for (let i = 0; i < 20; i++) x.relu().sum();
    console.log(defaultBackend().info().threads);
    ${end}`;
  const run = (end: string) =>
    promisify(execFile)(process.execPath, ["--import", "tsx", "--input-type=module", "-e", program(end)], {
      cwd: root,
      env: { ...process.env, GRADWEAVE_THREADS: "3" },
      timeout: 30_000,
    });

  it("ends by itself", async () => {
    const { stdout, stderr } = await run("");
    expect(stdout).toBe("3\n");
    expect(stderr).toBe("");
  });

  it("ends with an error, or with the code it asks for", async () => {
    await expect(run('throw new Error("stop here")')).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining("stop here"),
    });
    await expect(run("setTimeout(() => process.exit(7), 50)")).rejects.toMatchObject({ code: 7 });
  });
});
