/** Gradweave: tensors, automatic differentiation with every gradient piece visible, layers and networks. */
export * from "./autograd/index.ts";
export type { Backend, BackendInfo, EngineFlag, Shape, SimdLevel } from "./backends/backend.ts";
export { type CpuOptions, createCpuBackend } from "./backends/cpu/index.ts";
export type { DType, TypedArray } from "./backends/dtype.ts";
export type { MemoryCategory, MemoryReport } from "./backends/memory.ts";
export { DeviceError, DeviceLostError, WebGpuUnavailableError } from "./backends/webgpu/errors.ts";
export type { DeviceOptions } from "./backends/webgpu/options.ts";
export * as nn from "./nn/index.ts";
export * as optim from "./nn/optim/index.ts";
export * from "./tensor/index.ts";
