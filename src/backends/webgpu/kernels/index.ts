/** The kernels of the WebGPU backend, one for every op. */
import type { GpuKernelSet } from "../runtime.ts";
import { cast, concat, copy } from "./copy.ts";
import { pointwise } from "./pointwise.ts";

export const kernels: Partial<GpuKernelSet> = {
  cast,
  concat,
  copy,
  pointwise,
};
