/**
 * Frees the memory of a backward pass as the pass goes on: what an op's gradient needed on the way when the op is done,
 * a gradient when the last op that it flows through has read it. Without it a pass holds the gradient of every
 * activation at once, twice as much as the activations themselves in a DenseNet.
 */
import { areDisjoint } from "../tensor/disjoint.ts";
import { currentScope, Scope, withScope } from "../tensor/scope.ts";
import type { Storage } from "../tensor/storage.ts";
import type { Tensor } from "../tensor/tensor.ts";

export class PassScope {
  private readonly outer = currentScope();
  /** Gradients that still have to be read. */
  private readonly held = new Scope();
  /** What the current op makes. */
  private readonly temporary = new Scope();
  /** The gradients that lie in a piece of held memory: they may be views of each other. */
  private readonly readers = new Map<Storage, Tensor[]>();
  /** How many listeners on edges still look at a piece of held memory. */
  private readonly watchers = new Map<Storage, number>();
  /** Memory that leaves keep their gradients in from now on. */
  private readonly handedOver = new Set<Storage>();

  /** Keeps a gradient until `letGo`. Memory that the pass did not allocate is not its business. */
  hold(gradient: Tensor): void {
    const { storage } = gradient;
    if (storage.scope === this.temporary) storage.moveTo(this.held);
    if (storage.scope !== this.held) return;
    const readers = this.readers.get(storage);
    if (readers) readers.push(gradient);
    else this.readers.set(storage, [gradient]);
  }

  /** Undoes one `hold`; frees the memory when it was the last. */
  letGo(gradient: Tensor): void {
    if (this.drop(gradient)) gradient.storage.free();
  }

  /** Keeps a piece for a listener until it calls what this returns, beyond the end of the pass if need be. */
  holdForListener(piece: Tensor): () => void {
    const { storage } = piece;
    this.hold(piece);
    if (storage.scope !== this.held) return () => {};
    this.watchers.set(storage, (this.watchers.get(storage) ?? 0) + 1);
    let watching = true;
    return () => {
      if (!watching) return;
      watching = false;
      this.watchers.set(storage, (this.watchers.get(storage) ?? 1) - 1);
      // Not freed at once: the engine may be about to add the very piece that the listener looked at.
      if (this.drop(piece)) storage.moveTo(this.temporary);
    };
  }

  /** Whether a held gradient may be written to: nobody else looks at its elements, if at others of the same memory. */
  isOnlyReader(gradient: Tensor): boolean {
    const { storage } = gradient;
    const readers = this.readers.get(storage);
    // Where a gradient was broadcast, many of its elements lie in one place.
    const isBroadcast = gradient.strides.some((stride, axis) => stride === 0 && gradient.shape[axis] > 1);
    if (!readers || isBroadcast || storage.scope !== this.held) return false;
    const at = readers.indexOf(gradient);
    return at >= 0 && readers.every((other, i) => i === at || areDisjoint(gradient, other));
  }

  /**
   * Hands the memory of a complete gradient to a leaf, if gradients that nobody else reads fill all of it: those of a
   * norm's weight and bias are two rows of one piece of memory. False where the leaf has to copy.
   */
  handOver(gradient: Tensor): boolean {
    const { storage } = gradient;
    if (!gradient.isContiguous) return false;
    if (this.handedOver.has(storage)) return true;
    const readers = this.readers.get(storage) ?? [];
    const filled = readers.reduce((total, { size }) => total + size, 0);
    if (filled !== storage.length || !readers.every((reader) => this.isOnlyReader(reader))) return false;
    this.giveAway(gradient);
    this.handedOver.add(storage);
    return true;
  }

  /** Hands a gradient to whoever started the pass. */
  giveAway({ storage }: Tensor): void {
    this.readers.delete(storage);
    if (storage.scope === this.temporary || storage.scope === this.held) storage.moveTo(this.outer);
  }

  /** Runs the user's code, a hook say, in the scope that the pass was started in. */
  outside<Result>(body: () => Result): Result {
    return withScope(this.outer, body);
  }

  /** Frees what the op that is done made and nobody holds. */
  sweep(): void {
    this.temporary.clear();
  }

  close(): void {
    for (const [storage, count] of this.watchers)
      if (count > 0 && storage.scope === this.held) storage.moveTo(this.outer);
    this.temporary.close();
    this.held.close();
  }

  /** Takes one hold of a gradient back. True when it was the last on its memory. */
  private drop(gradient: Tensor): boolean {
    const { storage } = gradient;
    const readers = this.readers.get(storage);
    const at = readers?.indexOf(gradient) ?? -1;
    if (!readers || at < 0) return false;
    readers.splice(at, 1);
    if (readers.length > 0) return false;
    this.readers.delete(storage);
    return true;
  }
}
