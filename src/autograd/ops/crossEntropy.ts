/** The loss of classification, as a composition. */
import { formatShape } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { add, mul, neg } from "./arithmetic.ts";
import { checkFloats, checkIndexDtype } from "./checks.ts";
import { gather } from "./gather.ts";
import { mean } from "./mean.ts";
import { squeeze, unsqueeze } from "./slice.ts";
import { logSoftmax } from "./softmax.ts";
import { sum } from "./sum.ts";

export interface CrossEntropyOptions {
  /** Share of the target spread evenly over all classes (Szegedy et al. 2016, section 7). Default 0. */
  readonly labelSmoothing?: number;
  /** What becomes of the losses: their mean, their sum, or nothing. Default "mean". */
  readonly reduction?: "mean" | "sum" | "none";
}

/**
 * -(1 - labelSmoothing) · ln softmax(logits)[label] - labelSmoothing · mean over classes of ln softmax(logits).
 *
 * `logits` is [N, C], `labels` [N] in i32; or [N, C, ...] with labels [N, ...], a label for each pixel. The result is
 * a scalar, or has the labels' shape with reduction "none". Throws when the shapes do not belong together, and, where
 * the backend reads synchronously, when a label is no class.
 */
export function crossEntropy(
  logits: Tensor,
  labels: Tensor,
  { labelSmoothing = 0, reduction = "mean" }: CrossEntropyOptions = {},
): Tensor {
  checkFloats("crossEntropy", logits);
  checkIndexDtype("crossEntropy", "labels", labels);
  checkLabels(logits, labels);
  if (!(labelSmoothing >= 0 && labelSmoothing <= 1))
    throw new Error(`crossEntropy: labelSmoothing ${labelSmoothing} must lie between 0 and 1`);
  const logProbabilities = logSoftmax(logits, 1);
  const negativeLogLikelihood = neg(squeeze(gather(logProbabilities, unsqueeze(labels, 1), 1), 1));
  const losses =
    labelSmoothing === 0
      ? negativeLogLikelihood
      : add(mul(negativeLogLikelihood, 1 - labelSmoothing), mul(mean(logProbabilities, 1), -labelSmoothing));
  if (reduction === "none") return losses;
  return reduction === "sum" ? sum(losses) : mean(losses);
}

function checkLabels(logits: Tensor, labels: Tensor): void {
  const [batch, classes, ...places] = logits.shape;
  if (logits.rank < 2 || formatShape([batch, ...places]) !== formatShape(labels.shape))
    throw new Error(
      `crossEntropy: logits ${formatShape(logits.shape)} are not [N, C] for labels [N], ` +
        `here ${formatShape(labels.shape)} (or [N, C, ...] for [N, ...]); labels are class numbers, not one-hot rows`,
    );
  if (!labels.backend.readSync) return;
  const values = labels.dataSync();
  const at = values.findIndex((label) => label < 0 || label >= classes);
  if (at >= 0)
    throw new Error(
      `crossEntropy: label ${values[at]} at position ${at} is out of range for ${classes} classes; ` +
        `use 0 to ${classes - 1}`,
    );
}
