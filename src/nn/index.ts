/**
 * Layers and networks are made of what lives here: Module, the layers, initialisers and losses; optimizers and
 * schedules are in `optim/`. May import from `autograd/`, `tensor/` and `backends/`.
 */
export { type CrossEntropyOptions, crossEntropy } from "../autograd/index.ts";
export { checkpointModules } from "./checkpointModules.ts";
export { foldForInference } from "./foldForInference.ts";
export type { BackwardHook, ForwardHook, ForwardPreHook } from "./hooks.ts";
export * as init from "./init.ts";
export * from "./layers/activations.ts";
export { BatchNorm2d, type BatchNorm2dOptions } from "./layers/batchNorm2d.ts";
export { Conv2d, type Conv2dLayerOptions } from "./layers/conv2d.ts";
export { Linear } from "./layers/linear.ts";
export * from "./layers/pooling.ts";
export { type PreActivatedLayers, preActivated } from "./layers/preActivated.ts";
export { Sequential } from "./layers/sequential.ts";
export { Dropout, Flatten, Identity } from "./layers/shape.ts";
export { SqueezeExcitation, type SqueezeExcitationOptions } from "./layers/squeezeExcitation.ts";
export { StochasticDepth } from "./layers/stochasticDepth.ts";
export { type LossOptions, l1Loss, mseLoss } from "./losses.ts";
export { type ConvolutionChain, type LoadStateOptions, type LoadStateReport, Module } from "./module.ts";
export { Parameter } from "./parameter.ts";
