/** Losses beside `crossEntropy`: plain functions of ops. */
import { abs, mean, square, sub, sum } from "../autograd/index.ts";
import { formatShape, sameShape } from "../tensor/layout.ts";
import type { Tensor } from "../tensor/tensor.ts";

export interface LossOptions {
  /** What becomes of the losses: their mean, their sum, or nothing. Default "mean". */
  readonly reduction?: "mean" | "sum" | "none";
}

function reduce(losses: Tensor, { reduction = "mean" }: LossOptions): Tensor {
  if (reduction === "none") return losses;
  return reduction === "mean" ? mean(losses) : sum(losses);
}

function difference(loss: string, prediction: Tensor, target: Tensor): Tensor {
  if (!sameShape(prediction.shape, target.shape))
    throw new Error(
      `${loss}: prediction ${formatShape(prediction.shape)} and target ${formatShape(target.shape)} differ in shape`,
    );
  return sub(prediction, target);
}

/** Squared differences. Throws when the shapes differ. */
export function mseLoss(prediction: Tensor, target: Tensor, options: LossOptions = {}): Tensor {
  return reduce(square(difference("mseLoss", prediction, target)), options);
}

/** Absolute differences. Throws when the shapes differ. */
export function l1Loss(prediction: Tensor, target: Tensor, options: LossOptions = {}): Tensor {
  return reduce(abs(difference("l1Loss", prediction, target)), options);
}
