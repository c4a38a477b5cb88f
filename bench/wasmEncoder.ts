/**
 * `npx tsx bench/wasmEncoder.ts`: how long a kernel takes to emit, and V8 to compile. The kernel is the inner loop of
 * a matrix product, 6 rows x 4 vectors of sums, unrolled until its code has 6 KB.
 */
import { ModuleBuilder, webAssembly } from "../src/backends/cpu/wasm/encoder/index.ts";

const rows = 6;
const vectors = 4;
const unroll = 15;

function productModule(): ModuleBuilder {
  const module = new ModuleBuilder("product");
  module.importMemory("env", "memory", { initial: 1 });
  module.func(
    "product_6x4",
    { params: { left: "i32", right: "i32", out: "i32", depth: "i32" } },
    (f, { left, right, out, depth }) => {
      const { f32x4, i32, v128 } = f;
      const k = f.local("i32", "k");
      const columns = Array.from({ length: vectors }, (_, j) => f.local("v128", `right${j}`));
      const sums = Array.from({ length: rows * vectors }, (_, index) => f.local("v128", `sum${index}`));
      f.forRange(k, 0, depth, unroll, () => {
        for (let step = 0; step < unroll; step++) {
          for (const [j, column] of columns.entries())
            column.set(v128.load(right, 16 * (vectors * step + j)));
          for (let row = 0; row < rows; row++) {
            const value = f.let(v128.load32_splat(left, 4 * (rows * step + row)));
            for (const [j, column] of columns.entries()) {
              const sum = sums[row * vectors + j];
              sum?.set(f32x4.add(sum, f32x4.mul(value, column)));
            }
          }
        }
        left.set(i32.add(left, 4 * rows * unroll));
        right.set(i32.add(right, 16 * vectors * unroll));
      });
      for (const [index, sum] of sums.entries()) v128.store(out, sum, 16 * index);
    },
  );
  return module;
}

function smallModule(): ModuleBuilder {
  const module = new ModuleBuilder("small");
  module.func("add", { params: { x: "f32" }, result: "f32" }, (f, { x }) => f.f32.add(x, x));
  return module;
}

/** Milliseconds of the first run, and the median of 200 later ones. */
function time(run: () => unknown): string {
  const times = Array.from({ length: 201 }, () => {
    const start = performance.now();
    run();
    return performance.now() - start;
  });
  const [first = 0, ...later] = times;
  const median = later.sort((a, b) => a - b)[100] ?? 0;
  return `${first.toFixed(3)} ms the first time, ${median.toFixed(3)} ms later`;
}

const bytes = productModule().encode();
console.log(`emit a module of one small function: ${time(() => smallModule().encode())}`);
console.log(`emit a module of ${bytes.length} bytes: ${time(() => productModule().encode())}`);
if (webAssembly) {
  const { Module } = webAssembly;
  console.log(`compile it: ${time(() => new Module(bytes))}`);
}
