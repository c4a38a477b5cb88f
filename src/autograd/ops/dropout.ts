/** dropout: noise that keeps units from relying on each other (Srivastava et al. 2014). */
import { tensor } from "../../tensor/create.ts";
import { defaultGenerator, type Generator } from "../../tensor/generator.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { mul } from "./arithmetic.ts";
import { checkFloats } from "./checks.ts";

export interface DropoutOptions {
  /** Without it nothing is dropped. Default true. */
  readonly training?: boolean;
  /** Where the mask is drawn from; one draw per call. Default: the generator seeded by `manualSeed`. */
  readonly generator?: Generator;
}

/**
 * Each element is 0 with the given probability and x / (1 - probability) otherwise, so that the expectation stays x.
 * `x` itself when not training or with probability 0. Throws when the probability is not between 0 and 1.
 */
export function dropout(
  x: Tensor,
  probability = 0.5,
  { training = true, generator = defaultGenerator() }: DropoutOptions = {},
): Tensor {
  checkFloats("dropout", x);
  if (!(probability >= 0 && probability <= 1))
    throw new Error(`dropout: probability ${probability} must lie between 0 and 1`);
  if (!training || probability === 0) return x;
  const values = x.dtype === "f64" ? new Float64Array(x.size) : new Float32Array(x.size);
  generator.bernoulli(values, 1 - probability);
  // Probability 1 drops everything: there is no 1 to be scaled, and nothing to divide by 0.
  const scale = probability < 1 ? 1 / (1 - probability) : 0;
  for (let i = 0; i < values.length; i++) values[i] *= scale;
  return mul(x, tensor(values, { shape: x.shape, dtype: x.dtype, backend: x.backend }));
}
