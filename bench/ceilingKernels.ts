/** The two kernels that measure what this machine gives WebAssembly: multiply-adds in registers, and a copy. */
import { ModuleBuilder } from "../src/backends/cpu/wasm/encoder/index.ts";

export interface TileSize {
  readonly rows: number;
  readonly vectors: number;
}

const unroll = 4;

/** Multiplications and additions of a turn of `multiplyAdd`. */
export function operationsPerTurn({ rows, vectors }: TileSize): number {
  return 2 * 4 * rows * vectors * unroll;
}

/**
 * `multiplyAdd(turns)`: sums of products in rows x vectors registers, operands in registers too, as the innermost
 * loop of a matrix product would have them were memory infinitely fast. `fused` takes the relaxed multiply-add.
 * sum ← sum · left + right, since the compiler would compute the equal products of sum + left · right only once.
 */
export function multiplyAddModule({ rows, vectors }: TileSize, fused: boolean): ModuleBuilder {
  const module = new ModuleBuilder("ceiling");
  module.importMemory("env", "memory", { initial: 1 });
  module.func("multiplyAdd", { params: { turns: "i32" } }, (f, { turns }) => {
    const { f32x4, v128 } = f;
    const sums = Array.from({ length: rows * vectors }, (_, i) => f.local("v128", `sum${i}`));
    const right = Array.from({ length: vectors }, (_, i) => f.local("v128", `right${i}`));
    // V8 joins pairs of vectors to 256 bits only where all begin from one and the same value.
    const zero = f.let(f32x4.splat(0));
    for (const sum of sums) sum.set(zero);
    const address = f.let(f.i32.const(0));
    for (const [i, column] of right.entries()) column.set(v128.load(address, 64 + 16 * i));
    const left = f.let(v128.load32_splat(address, 0));
    const turn = f.local("i32", "turn");
    f.forRange(turn, 0, turns, 1, () => {
      for (let i = 0; i < unroll * sums.length; i++) {
        const sum = sums[i % sums.length];
        const column = right[i % vectors];
        if (sum && column)
          sum.set(fused ? f32x4.relaxed_madd(sum, left, column) : f32x4.add(f32x4.mul(sum, left), column));
      }
    });
    // Stored, so that the sums are needed.
    for (const [i, sum] of sums.entries()) v128.store(address, sum, 1024 + 16 * i);
  });
  return module;
}

/** `copy(from, to, bytes)`, of whole cache lines. */
export function copyModule(): ModuleBuilder {
  const module = new ModuleBuilder("ceiling");
  module.importMemory("env", "memory", { initial: 1 });
  module.func("copy", { params: { from: "i32", to: "i32", bytes: "i32" } }, (f, { from, to, bytes }) => {
    const { i32, v128 } = f;
    const end = f.let(i32.add(from, bytes));
    f.forPointer(from, from, end, 64, () => {
      const line = [0, 16, 32, 48].map((offset) => f.let(v128.load(from, offset)));
      for (const [i, part] of line.entries()) v128.store(to, part, 16 * i);
      to.set(i32.add(to, 64));
    });
  });
  return module;
}
