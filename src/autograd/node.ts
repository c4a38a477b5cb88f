/** What the tape holds: one node per recorded op. */
import type { Tensor } from "../tensor/tensor.ts";
import type { Place } from "./mode.ts";

let nextId = 0;

/** What a node keeps for the backward pass until the tape is released. */
export interface Saved {
  readonly inputs: readonly Tensor[];
  readonly output: Tensor;
  /**
   * Begins to split the gradient of the output, in one backward pass, which will ask for the slots that it wants: the
   * result gives the piece that flows to input `slot`, or null when none does.
   */
  split(gradient: Tensor, isWanted: (slot: number) => boolean): (slot: number) => Tensor | null;
}

/**
 * One recorded op. Ids grow with time, so a consumer's id is always larger than its producers':
 * descending ids are a valid order for the backward pass.
 */
export class Node {
  readonly id: number;
  readonly op: string;
  private readonly place: Place;
  private saved: Saved | null;

  constructor(op: string, place: Place, saved: Saved) {
    this.id = nextId++;
    this.op = op;
    this.place = place;
    this.saved = saved;
  }

  /** The module whose forward made it, "" outside of modules. */
  get modulePath(): string {
    return this.place.path;
  }

  get inputs(): readonly Tensor[] {
    return this.content().inputs;
  }

  get output(): Tensor {
    return this.content().output;
  }

  /** Begins to split the gradient of the output; the result gives the piece for each input when asked. */
  split(gradient: Tensor, isWanted: (slot: number) => boolean): (slot: number) => Tensor | null {
    return this.content().split(gradient, isWanted);
  }

  /** Forgets the saved tensors; the op can take part in no further backward pass. */
  release(): void {
    this.saved = null;
  }

  /** `conv2d in features.conv0`, for messages. */
  describe(): string {
    const { op, modulePath } = this;
    return modulePath ? `${op} in ${modulePath}` : op;
  }

  private content(): Saved {
    if (!this.saved)
      throw new Error(
        `backward: the graph through ${this.describe()} was already used and released; ` +
          "pass { retainGraph: true } to the first backward to go through it twice",
      );
    return this.saved;
  }
}
