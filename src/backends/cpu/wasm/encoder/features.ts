/**
 * What the WebAssembly of this engine can do, found out with small modules of our own encoder, and the one flag that
 * is worth asking V8 for.
 *
 * Relaxed SIMD has the fused multiply-add: 45 against 31 GFLOP/s on one core of an AVX-512 Xeon. Engines have it since
 * 2023; Node 20's V8 has it behind a flag, which counts for everything compiled later, in workers too. It rounds once
 * where mul and add round twice, so results differ in the last bit from engines without it, and it can be refused.
 */
import { type AddressType, type WebAssemblyEngine, webAssembly } from "./engine.ts";
import { ModuleBuilder } from "./module.ts";

export interface WasmFeatures {
  /** Vectors of 128 bits. */
  readonly simd: boolean;
  /** Fused multiply-add. */
  readonly relaxedSimd: boolean;
  /** Shared memory and atomics. */
  readonly threads: boolean;
}

/** Whether relaxed SIMD is there because this file asked for it. */
let flagIsSet = false;

/** Where fused multiply-add comes from: the engine as it is, a flag that was set, nowhere, or not wanted. */
export type RelaxedSimd = "built in" | "by flag" | "missing" | "refused";

function simdProbe(): ModuleBuilder {
  const module = new ModuleBuilder();
  module.func("probe", { params: { x: "v128" }, result: "v128" }, (f, { x }) => f.f32x4.add(x, x));
  return module;
}

function relaxedSimdProbe(): ModuleBuilder {
  const module = new ModuleBuilder();
  module.func("probe", { params: { x: "v128" }, result: "v128" }, (f, { x }) =>
    f.f32x4.relaxed_madd(x, x, x),
  );
  return module;
}

function threadsProbe(address: AddressType): ModuleBuilder {
  const module = new ModuleBuilder();
  module.importMemory("env", "memory", { initial: 1, maximum: 1, shared: true, address });
  module.func("probe", { params: { at: "i32" }, result: "i32" }, (f, { at }) => f.i32.atomic.rmw.add(at, 1));
  return module;
}

/** What modules may use now. Threads also need a `SharedArrayBuffer`, which browsers hide from pages not isolated. */
export function wasmFeatures(engine: WebAssemblyEngine | undefined = webAssembly): WasmFeatures {
  const has = (probe: () => ModuleBuilder) => engine?.validate(probe().encode()) ?? false;
  return {
    simd: has(simdProbe),
    relaxedSimd: has(relaxedSimdProbe),
    threads: has(() => threadsProbe("i32")) && typeof SharedArrayBuffer !== "undefined",
  };
}

/** Whether memory may have 64-bit addresses. Not among the features above, which every start asks for. */
export function hasMemory64(engine: WebAssemblyEngine | undefined = webAssembly): boolean {
  return engine?.validate(threadsProbe("i64").encode()) ?? false;
}

/** The V8 flag behind which older engines have fused multiply-add. */
export const relaxedSimdFlag = "--experimental-wasm-relaxed-simd";

/** Sets a flag that V8 is known to have; of others it complains on stderr. False where there is no V8 to be told. */
export function setV8Flag(flag: string): boolean {
  try {
    // `import "node:v8"` would keep this file out of browsers.
    const v8 = typeof process === "undefined" ? undefined : process.getBuiltinModule?.("node:v8");
    v8?.setFlagsFromString(flag);
    return v8 !== undefined;
  } catch {
    // No right to set flags.
    return false;
  }
}

/**
 * Makes fused multiply-add available where that takes a flag. Call it before kernels are compiled. Never throws.
 *
 * @param options.exact true to refuse it, for the same bits on every engine; by default, whether the environment
 *   variable GRADWEAVE_EXACT is 1
 * @param options.v8Flags false to set no flag and use only what the engine has by itself
 */
export function enableRelaxedSimd({ exact = isExactAskedFor(), v8Flags = true } = {}): RelaxedSimd {
  if (exact) return "refused";
  const { simd, relaxedSimd } = wasmFeatures();
  if (relaxedSimd && !flagIsSet) return "built in";
  if (!v8Flags) return flagIsSet ? "refused" : "missing";
  if (!simd) return "missing";
  if (!relaxedSimd) {
    setV8Flag(relaxedSimdFlag);
    flagIsSet = wasmFeatures().relaxedSimd;
  }
  return flagIsSet ? "by flag" : "missing";
}

function isExactAskedFor(): boolean {
  return typeof process !== "undefined" && process.env?.GRADWEAVE_EXACT === "1";
}
