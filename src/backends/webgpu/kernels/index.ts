/** The kernels of the WebGPU backend, one for every op. */
import type { GpuKernelSet } from "../runtime.ts";
import {
  conv2d,
  conv2dInputGradient,
  conv2dRelu,
  conv2dWeightGradient,
  normReluConv2d,
  normReluConv2dWeightGradient,
} from "./convolution/index.ts";
import { cast, concat, copy } from "./copy.ts";
import { matmul } from "./matmul.ts";
import { pointwise } from "./pointwise.ts";

export const kernels: Partial<GpuKernelSet> = {
  cast,
  concat,
  conv2d,
  conv2dInputGradient,
  conv2dRelu,
  conv2dWeightGradient,
  copy,
  matmul,
  normReluConv2d,
  normReluConv2dWeightGradient,
  pointwise,
};
