/** The WebAssembly encoder: what kernels are written with. Start at `module.ts`. */
export type { Label } from "./body.ts";
export {
  type AddressType,
  type WasmMemory,
  type WasmModule,
  type WebAssemblyEngine,
  webAssembly,
} from "./engine.ts";
export {
  enableRelaxedSimd,
  hasMemory64,
  type RelaxedSimd,
  relaxedSimdFlag,
  setV8Flag,
  wasmFeatures,
} from "./features.ts";
export type { FunctionBuilder, FunctionHandle } from "./function.ts";
export { ModuleBuilder } from "./module.ts";
export type { ValueType } from "./opcodes.ts";
export type { Expression, Local, Operand, Reusable } from "./values.ts";
