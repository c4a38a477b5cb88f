/** How the CSPNet paper trains its classifiers (section 4), in Darknet's terms, for a training of any length. */
import type { Parameter } from "../nn/index.ts";
import { polynomial, type Schedule, SGD } from "../nn/optim/index.ts";

export interface RecipeOptions {
  /** Length of the training. The paper's is 800,000. */
  readonly steps: number;
  /** Default 0.1, for the paper's batches of 128. */
  readonly lr?: number;
  /** Default 0.9. */
  readonly momentum?: number;
  /** Default 0.0005. */
  readonly weightDecay?: number;
  /** Steps over which the rate rises. Default: the paper's 1000, but not more than a tenth of the training. */
  readonly burnIn?: number;
}

/**
 * SGD with momentum and weight decay, and lr · (1 − t / T)⁴ after a rise of (t / burnIn)⁴. Steps count from 1, as in
 * Darknet, so that neither the first nor the last one is of rate 0.
 */
export function paperRecipe(
  parameters: Iterable<Parameter>,
  { steps, lr = 0.1, momentum = 0.9, weightDecay = 0.0005, burnIn }: RecipeOptions,
): { readonly optimizer: SGD; readonly schedule: Schedule } {
  const rise = burnIn ?? Math.min(1000, Math.floor(steps / 10));
  const rate = polynomial({ maxSteps: steps + 1, power: 4, burnIn: rise, burnInPower: 4 });
  return {
    optimizer: new SGD(parameters, { lr, momentum, weightDecay }),
    schedule: (step) => rate(step + 1),
  };
}
