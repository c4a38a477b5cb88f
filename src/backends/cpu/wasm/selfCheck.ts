/**
 * A small module whose results are known, run before an engine's experimental code generators are trusted with
 * training: sums of products in neighbouring vectors, which V8 may join into wider ones, and what comes after them
 * in a network.
 */
import { type AddressType, ModuleBuilder, setV8Flag, type WebAssemblyEngine } from "./encoder/index.ts";
import { multiplyAdd } from "./runtime.ts";
import { SharedMemory } from "./sharedMemory.ts";

/** Products in a sum. */
const depth = 96;
/** Neighbouring vectors that take part. */
const vectors = 4;
const lanes = 4 * vectors;

const places = {
  x: 0,
  y: 4 * depth,
  sums: 4 * depth * (1 + lanes),
  rectified: 4 * depth * (1 + lanes) + 4 * lanes,
};

/** V8 would give a module of the same bytes the code that it made before, with other flags. */
let checks = 0;

function checkModule(fused: boolean, address: AddressType): ModuleBuilder {
  const module = new ModuleBuilder(`selfCheck${++checks}`);
  module.importMemory("env", "memory", { initial: 1, maximum: 1, shared: true, address });
  const params = { x: "i32", y: "i32", sums: "i32", rectified: "i32", depth: "i32" } as const;
  module.func("check", { params }, (f, { x, y, sums, rectified, depth }) => {
    const { i32, f32x4, v128 } = f;
    const k = f.local("i32", "k");
    const totals = Array.from({ length: vectors }, (_, v) => f.local("v128", `total${v}`));
    f.forRange(k, 0, depth, 1, () => {
      const left = f.let(v128.load32_splat(x));
      const right = totals.map((_, v) => f.let(v128.load(y, 16 * v)));
      for (const [v, total] of totals.entries()) total.set(multiplyAdd(f, fused, left, right[v], total));
      x.set(i32.add(x, 4));
      y.set(i32.add(y, 4 * lanes));
    });
    const zero = f.let(f32x4.splat(0));
    for (const [v, total] of totals.entries()) v128.store(sums, total, 16 * v);
    for (const [v, total] of totals.entries()) v128.store(rectified, f32x4.max(total, zero), 16 * v);
  });
  return module;
}

/**
 * Whether the engine computes what it should. The numbers are whole and small, so that no rounding is involved and
 * any difference is an error.
 *
 * @param address the type of the memory's addresses
 * @param optimise true to have the check compiled by V8's optimising compiler, where its experiments are
 */
export function selfCheck(
  engine: WebAssemblyEngine,
  fused: boolean,
  optimise: boolean,
  address: AddressType = "i32",
): boolean {
  const { memory } = new SharedMemory(engine, 1, address);
  const numbers = new Float32Array(memory.buffer);
  const x = Array.from({ length: depth }, (_, k) => ((k * 7) % 13) - 6);
  const y = Array.from({ length: depth * lanes }, (_, i) => ((i * 5) % 17) - 8);
  numbers.set(x, places.x / 4);
  numbers.set(y, places.y / 4);
  if (optimise) setV8Flag("--no-liftoff");
  try {
    const module = new engine.Module(checkModule(fused, address).encode());
    const { check } = new engine.Instance(module, { env: { memory } }).exports;
    if (typeof check !== "function") return false;
    check(places.x, places.y, places.sums, places.rectified, depth);
  } catch {
    return false;
  } finally {
    if (optimise) setV8Flag("--liftoff");
  }
  return Array.from({ length: lanes }, (_, lane) => {
    const expected = x.reduce((sum, value, k) => sum + value * y[k * lanes + lane], 0);
    const [sum, rectified] = [places.sums, places.rectified].map((place) => numbers[place / 4 + lane]);
    return sum === expected && rectified === Math.max(0, expected);
  }).every((isRight) => isRight);
}
