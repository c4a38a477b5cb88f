/**
 * The gradients of a backward pass while their pieces arrive, each the sum of its pieces from left to right.
 *
 * A layer of a dense block sends one wide gradient, cut into a piece for every map that it read; the next layer sends
 * one a little narrower. Added map by map that would be a kernel for each pair of layers. So the pieces of an op are
 * added together once all are there, those that lie side by side in one go, and into the first piece's own memory
 * where nobody else reads that: then the wide gradients of a block are added up as a whole, a kernel a layer.
 */
import { continues } from "../tensor/disjoint.ts";
import { formatShape, sameShape } from "../tensor/layout.ts";
import { Tensor } from "../tensor/tensor.ts";
import { add } from "./ops/arithmetic.ts";
import { addInPlace } from "./ops/inPlace.ts";
import type { PassScope } from "./passScope.ts";

interface Addition {
  readonly sum: Tensor;
  readonly piece: Tensor;
}

/** Both additions as one of wider views, where their operands lie side by side; else null. */
function joined({ sum, piece }: Addition, next: Addition): Addition | null {
  if (sum.storage !== next.sum.storage || piece.storage !== next.piece.storage) return null;
  const axis = sum.shape.findIndex(
    (_, at) => continues(sum, next.sum, at) && continues(piece, next.piece, at),
  );
  if (axis < 0) return null;
  const shape = sum.shape.map((extent, at) => (at === axis ? extent + next.sum.shape[at] : extent));
  const wide = ({ storage, strides, offset }: Tensor) => new Tensor(storage, shape, strides, offset);
  return { sum: wide(sum), piece: wide(piece) };
}

export class GradientSums {
  private readonly memory: PassScope | null;
  private readonly createGraph: boolean;
  private readonly sums = new Map<Tensor, Tensor>();
  /** Tensors whose gradient so far lies in memory that nobody else reads: only that may be added to in place. */
  private readonly own = new Set<Tensor>();
  private pending: { readonly tensor: Tensor; readonly piece: Tensor }[] = [];

  /** `memory` frees the pieces as soon as they are added; with `createGraph` the additions are recorded. */
  constructor(memory: PassScope | null, createGraph: boolean) {
    this.memory = memory;
    this.createGraph = createGraph;
  }

  /** Tensors whose gradient was not taken yet. */
  get tensors(): Tensor[] {
    return [...this.sums.keys()];
  }

  /** Notes a piece of the gradient of `tensor`. Throws when it has another shape. */
  add(tensor: Tensor, piece: Tensor): void {
    if (!sameShape(tensor.shape, piece.shape))
      throw new Error(
        `backward: a gradient of shape ${formatShape(piece.shape)} reached a tensor of shape ${formatShape(tensor.shape)}`,
      );
    this.memory?.hold(piece);
    if (this.sums.has(tensor)) this.pending.push({ tensor, piece });
    else this.sums.set(tensor, piece);
  }

  /** Adds the pieces noted since the last time, when the op that sent them has sent them all. */
  flush(): void {
    if (this.pending.length === 0) return;
    const { pending } = this;
    this.pending = [];
    let open: Addition | null = null;
    for (const { tensor, piece } of pending) {
      const sum = this.sums.get(tensor);
      if (!sum) continue;
      if (this.mayWrite(tensor, sum)) {
        this.own.add(tensor);
        const wider: Addition | null = open && joined(open, { sum, piece });
        if (open && !wider) addInPlace(open.sum, open.piece);
        open = wider ?? { sum, piece };
      } else {
        const total = add(sum, piece);
        this.sums.set(tensor, total);
        this.own.add(tensor);
        this.memory?.hold(total);
        this.memory?.letGo(sum);
      }
    }
    if (open) addInPlace(open.sum, open.piece);
    if (this.memory) for (const { piece } of pending) this.memory.letGo(piece);
  }

  /** The complete gradient of `tensor`; null when no piece reached it. */
  take(tensor: Tensor): Tensor | null {
    const sum = this.sums.get(tensor) ?? null;
    this.sums.delete(tensor);
    return sum;
  }

  private mayWrite(tensor: Tensor, sum: Tensor): boolean {
    if (this.createGraph) return false;
    return this.own.has(tensor) || this.memory?.isOnlyReader(sum) === true;
  }
}
