/** A pool of threads with range functions of its own, small enough that a test can count what each thread did. */
import { ModuleBuilder, webAssembly } from "../../src/backends/cpu/wasm/encoder/index.ts";
import { WasmRuntime } from "../../src/backends/cpu/wasm/runtime.ts";
import type { ThreadPool } from "../../src/backends/cpu/wasm/threads/pool.ts";
import { kernelMemory } from "./kernelMemory.ts";

const range = { begin: "i32", end: "i32", scratch: "i32" } as const;

/** A runtime and its range functions; close its pool when done. */
export function countingRuntime(threads: number) {
  if (!webAssembly) throw new Error("this engine has no WebAssembly");
  const memory = kernelMemory();
  const runtime = new WasmRuntime(webAssembly, memory, false, threads);
  const module = new ModuleBuilder("counting");
  runtime.importMemory(module);
  // Item i: counts[i] += i + value, owners[i] = scratch; `turns` of idling make it long.
  module.func(
    "count",
    { params: { ...range, counts: "i32", owners: "i32", value: "i32", turns: "i32" } },
    (f, { begin, end, scratch, counts, owners, value, turns }) => {
      const { i32 } = f;
      const turn = f.local("i32", "turn");
      f.while(
        () => i32.lt_s(begin, end),
        () => {
          const at = f.let(i32.shl(begin, 2), "at");
          const target = f.let(i32.add(counts, at), "target");
          i32.store(target, i32.add(i32.load(target), i32.add(begin, value)));
          i32.store(i32.add(owners, at), scratch);
          f.forRange(turn, 0, turns, 1, () => i32.atomic.store(scratch, turn));
          begin.set(i32.add(begin, 1));
        },
      );
    },
  );
  // Item i: counts[i] = 31 counts[i] + value, whose result depends on the order of commands.
  module.func(
    "digit",
    { params: { ...range, counts: "i32", owners: "i32", value: "i32", turns: "i32" } },
    (f, { begin, end, scratch, counts, value, turns }) => {
      const { i32 } = f;
      const [item, turn] = [f.local("i32", "item"), f.local("i32", "turn")];
      f.forRange(item, begin, end, 1, () => {
        const target = f.let(i32.add(counts, i32.shl(item, 2)), "target");
        const before = f.let(i32.load(target), "before");
        f.forRange(turn, 0, turns, 1, () => i32.atomic.store(scratch, turn));
        i32.store(target, i32.add(i32.mul(before, 31), value));
      });
    },
  );
  // Item i: to[i] = 31 to[i] + from[i] + value.
  module.func(
    "mix",
    { params: { ...range, from: "i32", to: "i32", value: "i32", turns: "i32" } },
    (f, { begin, end, scratch, from, to, value, turns }) => {
      const { i32 } = f;
      const [item, turn] = [f.local("i32", "item"), f.local("i32", "turn")];
      f.forRange(item, begin, end, 1, () => {
        const offset = f.let(i32.shl(item, 2), "offset");
        const target = f.let(i32.add(to, offset), "target");
        const before = f.let(i32.mul(i32.load(target), 31), "before");
        f.forRange(turn, 0, turns, 1, () => i32.atomic.store(scratch, turn));
        i32.store(target, i32.add(i32.add(before, i32.load(i32.add(from, offset))), value));
      });
    },
  );
  // The first item waits for `flag`, no more than so many turns, and writes what it saw; the others do nothing.
  module.func(
    "waiting",
    { params: { ...range, flag: "i32", seen: "i32", turns: "i32" } },
    (f, { begin, flag, seen, turns }) => {
      const { i32 } = f;
      f.if(i32.eqz(begin), () => {
        f.while(
          () => i32.and(i32.eqz(i32.atomic.load(flag)), i32.gt_s(turns, 0)),
          () => turns.set(i32.sub(turns, 1)),
        );
        i32.store(seen, i32.atomic.load(flag));
      });
    },
  );
  module.func("trapOutside", { params: { ...range, scratchOfMain: "i32" } }, (f, p) => {
    f.if(f.i32.ne(p.scratch, p.scratchOfMain), () => f.unreachable());
  });
  module.func("trapInside", { params: { ...range, scratchOfMain: "i32" } }, (f, p) => {
    f.if(f.i32.eq(p.scratch, p.scratchOfMain), () => f.unreachable());
  });
  const { count, digit, mix, waiting, trapOutside, trapInside } = runtime.instantiate(module);
  return { runtime, memory, count, digit, mix, waiting, trapOutside, trapInside };
}

/** Resolves once every worker takes part; starts them with `work`. */
export async function allRunning(pool: ThreadPool, work: () => void): Promise<void> {
  const end = performance.now() + 30_000;
  for (work(); pool.running < pool.threads - 1; await new Promise((done) => setTimeout(done, 5)))
    if (performance.now() > end)
      throw new Error(`only ${pool.running} of ${pool.threads - 1} workers started`);
}
