/** The kernels of the WebGPU backend, one for every op. */
import type { GpuKernelSet } from "../runtime.ts";
import { adaptiveAvgPool2d, adaptiveAvgPool2dInputGradient } from "./adaptiveAvgPool2d.ts";
import { assignAll } from "./assignAll.ts";
import { avgPool2d, avgPool2dInputGradient } from "./avgPool2d.ts";
import {
  batchNorm,
  batchNormInputGradient,
  batchNormSums,
  normReluInputGradient,
  normReluSums,
} from "./batchNorm.ts";
import { batchStatistics } from "./batchStatistics.ts";
import {
  conv2d,
  conv2dInputGradient,
  conv2dRelu,
  conv2dWeightGradient,
  normReluConv2d,
  normReluConv2dWeightGradient,
} from "./convolution/index.ts";
import { cast, concat, copy } from "./copy.ts";
import { dropoutMask } from "./dropoutMask.ts";
import { gather, scatterAdd } from "./gather.ts";
import { matmul } from "./matmul.ts";
import { argmax, max, maxInputGradient, maxPick } from "./max.ts";
import { maxPool2d, maxPool2dInputGradient, maxPool2dPick } from "./maxPool2d.ts";
import { pad } from "./pad.ts";
import { pointwise } from "./pointwise.ts";
import { runningStatistics } from "./runningStatistics.ts";
import { logSoftmax, logSumExp, softmax } from "./softmax.ts";
import { sum } from "./sum.ts";
import { upsample, upsampleInputGradient } from "./upsample.ts";

export const kernels: GpuKernelSet = {
  adaptiveAvgPool2d,
  adaptiveAvgPool2dInputGradient,
  argmax,
  assignAll,
  avgPool2d,
  avgPool2dInputGradient,
  batchNorm,
  batchNormInputGradient,
  batchNormSums,
  batchStatistics,
  cast,
  concat,
  conv2d,
  conv2dInputGradient,
  conv2dRelu,
  conv2dWeightGradient,
  copy,
  dropoutMask,
  gather,
  logSoftmax,
  logSumExp,
  matmul,
  max,
  maxInputGradient,
  maxPick,
  maxPool2d,
  maxPool2dInputGradient,
  maxPool2dPick,
  normReluConv2d,
  normReluConv2dWeightGradient,
  normReluInputGradient,
  normReluSums,
  pad,
  pointwise,
  runningStatistics,
  scatterAdd,
  softmax,
  sum,
  upsample,
  upsampleInputGradient,
};
