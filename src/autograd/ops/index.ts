/** Every op. A new op's file is listed here, and with that it is tested, documented and exported. */
export * from "./activations.ts";
export { adaptiveAvgPool2d, globalAvgPool2d } from "./adaptiveAvgPool2d.ts";
export * from "./arithmetic.ts";
export { type Assignment, assignAll } from "./assignAll.ts";
export { type AvgPool2dOptions, avgPool2d } from "./avgPool2d.ts";
export {
  type BatchNormOptions,
  batchNorm,
  batchNormWith,
  type FixedNormalization,
} from "./batchNorm.ts";
export { batchStatistics } from "./batchStatistics.ts";
export { to } from "./cast.ts";
export { channelMaxout } from "./channelMaxout.ts";
export * from "./comparison.ts";
export { concat, GrowingConcat, stack } from "./concat.ts";
export { type Conv2dOptions, conv2d, conv2dInputGradient, conv2dWeightGradient } from "./conv2d.ts";
export { conv2dRelu } from "./conv2dRelu.ts";
export { clone, contiguous } from "./copy.ts";
export { type CrossEntropyOptions, crossEntropy } from "./crossEntropy.ts";
export { type DropoutOptions, dropout } from "./dropout.ts";
export { gather, scatterAdd } from "./gather.ts";
export { addInPlace, assign, copyInto } from "./inPlace.ts";
export { logSumExp } from "./logSumExp.ts";
export { matmul } from "./matmul.ts";
export { argmax, max, min } from "./max.ts";
export { maxPool2d, type Pool2dOptions } from "./maxPool2d.ts";
export { mean, type VarianceOptions, variance } from "./mean.ts";
export { type NormReluConv2dOptions, normReluConv2d } from "./normReluConv2d.ts";
export { permute, transpose } from "./permute.ts";
export type { Operand } from "./pointwise.ts";
export { flatten, reshape } from "./reshape.ts";
export { updateRunningStatistics } from "./runningStatistics.ts";
export { sharedStatistics } from "./sharedStatistics.ts";
export { pad, select, slice, split, squeeze, unsqueeze } from "./slice.ts";
export { logSoftmax, softmax } from "./softmax.ts";
export { expand, type ReduceOptions, sum, sumTo } from "./sum.ts";
export { type UpsampleOptions, upsample } from "./upsample.ts";
export { type Padding, type Pair, pair } from "./windows.ts";
