/** dropout: noise that keeps units from relying on each other (Srivastava et al. 2014). */
import type { HostKernel } from "../../backends/backend.ts";
import { defaultGenerator, type Generator, type PhiloxDraw } from "../../tensor/generator.ts";
import { philoxBlocks, wordsPerBlock } from "../../tensor/philox.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { allocate } from "../defineOp.ts";
import { mul } from "./arithmetic.ts";
import { checkFloats } from "./checks.ts";

declare module "../../backends/backend.ts" {
  interface KernelAttributes {
    dropoutMask: DropoutMaskAttributes;
  }
}

interface DropoutMaskAttributes {
  /** Element i is decided by word i of the draw. */
  readonly draw: PhiloxDraw;
  /** Of being dropped. */
  readonly probability: number;
}

/** Words that are computed at a time: a multiple of a block. */
const chunkWords = 1024;

/** [n]: 0 where a random word, as a fraction of 2^32, is at least 1 − probability, else 1 / (1 − probability). */
const reference: HostKernel<DropoutMaskAttributes> = (_, output, { draw, probability }) => {
  const { counter, key } = draw;
  const [length] = output.shape;
  const words = new Uint32Array(chunkWords);
  const below = (1 - probability) * 2 ** 32;
  // Probability 1 drops everything: there is no 1 to be scaled, and nothing to divide by 0.
  const kept = probability < 1 ? 1 / (1 - probability) : 0;
  for (let start = 0; start < length; start += chunkWords) {
    const count = Math.min(chunkWords, length - start);
    philoxBlocks(words, Math.ceil(count / wordsPerBlock), start / wordsPerBlock, ...counter, ...key);
    for (let i = 0; i < count; i++)
      output.data[output.offset + (start + i) * output.strides[0]] = words[i] < below ? kept : 0;
  }
};

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
  const mask = allocate(x.backend, x.dtype, x.shape);
  x.backend.run({
    kernel: "dropoutMask",
    reference,
    inputs: [],
    output: { buffer: mask.storage.buffer, shape: [x.size], strides: [1], offset: 0 },
    attributes: { draw: generator.takeDraw(), probability },
  });
  return mul(x, mask);
}
