/** Maxout over groups of channels, as a composition. */
import { formatShape } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { max } from "./max.ts";
import { reshape } from "./reshape.ts";
import { checkImages } from "./windows.ts";

/**
 * x [N, C, H, W] -> [N, outChannels, H, W]: output channel g is the largest of the channels k with
 * k mod outChannels = g (Darknet's maxpool_depth; Goodfellow et al. 2013 for maxout). The gradient goes to the first
 * largest. Throws when `outChannels` does not divide C.
 */
export function channelMaxout(x: Tensor, outChannels: number): Tensor {
  checkImages("channelMaxout", x.shape);
  const [N, C, H, W] = x.shape;
  if (!Number.isInteger(outChannels) || outChannels < 1 || C % outChannels !== 0)
    throw new Error(
      `channelMaxout: outChannels ${outChannels} does not divide the ${C} channels of ${formatShape(x.shape)}; ` +
        "use a divisor",
    );
  return max(reshape(x, [N, C / outChannels, outChannels, H, W]), 1);
}
