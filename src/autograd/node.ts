/** What the tape holds: one node per recorded op. */
import type { Tensor } from "../tensor/tensor.ts";

let nextId = 0;

/**
 * Splits the gradient of an op's output, in one backward pass: gives the piece that flows to input `slot`, or null
 * when none does.
 */
export type SplitRule = (gradient: Tensor) => (slot: number) => Tensor | null;

/**
 * One recorded op. Ids grow with time, so a consumer's id is always larger than its producers':
 * descending ids are a valid order for the backward pass.
 */
export class Node {
  readonly id: number;
  readonly op: string;
  /** The module whose forward made it, "" outside of modules. */
  readonly modulePath: string;
  private saved: {
    readonly inputs: readonly Tensor[];
    readonly output: Tensor;
    readonly split: SplitRule;
  } | null;

  constructor(op: string, modulePath: string, inputs: readonly Tensor[], output: Tensor, split: SplitRule) {
    this.id = nextId++;
    this.op = op;
    this.modulePath = modulePath;
    this.saved = { inputs, output, split };
  }

  get inputs(): readonly Tensor[] {
    return this.content().inputs;
  }

  get output(): Tensor {
    return this.content().output;
  }

  /** Begins to split the gradient of the output; the result gives the piece for each input when asked. */
  split(gradient: Tensor): (slot: number) => Tensor | null {
    return this.content().split(gradient);
  }

  /** Forgets the saved tensors; the op can take part in no further backward pass. */
  release(): void {
    this.saved = null;
  }

  /** `conv2d in features.conv0`, for messages. */
  describe(): string {
    return this.modulePath ? `${this.op} in ${this.modulePath}` : this.op;
  }

  private content() {
    if (!this.saved)
      throw new Error(
        `backward: the graph through ${this.describe()} was already used and released; ` +
          "pass { retainGraph: true } to the first backward to go through it twice",
      );
    return this.saved;
  }
}
