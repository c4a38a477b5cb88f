/**
 * Tensors: layouts on shared memory, creation, seeded random numbers, scopes, printing. May import from
 * `backends/` only.
 */
export * from "./create.ts";
export { defaultGenerator, Generator, type GeneratorState, manualSeed } from "./generator.ts";
export { type RecordedStep, recordStep } from "./recordStep.ts";
export {
  defaultBackend,
  memoryReport,
  resetPeakMemory,
  setBackend,
  setDefaultBackend,
} from "./runtime.ts";
export { Scope, scope } from "./scope.ts";
export { type GradientHook, type NestedArray, Tensor } from "./tensor.ts";
