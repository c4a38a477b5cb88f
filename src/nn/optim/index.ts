/** Optimizers and learning-rate schedules, named as in PyTorch. May import from `nn/` and what is below it. */
export { Adam, type AdamOptions, AdamW } from "./adam.ts";
export { Optimizer, type OptimizerState } from "./optimizer.ts";
export {
  cosine,
  LearningRateScheduler,
  linearWarmup,
  polynomial,
  type Schedule,
  stepDecay,
} from "./schedules.ts";
export { SGD, type SGDOptions } from "./sgd.ts";
