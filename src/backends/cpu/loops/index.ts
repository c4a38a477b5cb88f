/** The typed-array kernels of the CPU backend by kernel name. */
import { assignAll } from "./assignAll.ts";
import { batchNorm, batchNormInputGradient, batchNormSums, batchStatistics } from "./batchNorm.ts";
import { cast } from "./cast.ts";
import { concat } from "./concat.ts";
import { conv2d, conv2dInputGradient, conv2dWeightGradient } from "./conv2d.ts";
import { conv2dRelu } from "./conv2dRelu.ts";
import { copy } from "./copy.ts";
import { matmul } from "./matmul.ts";
import {
  normReluConv2d,
  normReluConv2dWeightGradient,
  normReluInputGradient,
  normReluSums,
} from "./normRelu.ts";
import { pad } from "./pad.ts";
import {
  avgPool2d,
  avgPool2dInputGradient,
  maxPool2d,
  maxPool2dInputGradient,
  maxPool2dPick,
} from "./pool.ts";
import { sum } from "./reduce.ts";

/** Kernels that a CPU backend runs in place of an op's reference loops. */
export const loops = {
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
  matmul,
  maxPool2d,
  maxPool2dInputGradient,
  maxPool2dPick,
  normReluConv2d,
  normReluConv2dWeightGradient,
  normReluInputGradient,
  normReluSums,
  pad,
  sum,
};
