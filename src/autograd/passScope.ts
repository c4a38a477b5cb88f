/**
 * Frees the memory of a backward pass as the pass goes on: what an op's gradient needed on the way when the op is done,
 * a gradient when the last op that it flows through has read it. Without it a pass holds the gradient of every
 * activation at once, twice as much as the activations themselves in a DenseNet.
 */
import { currentScope, Scope, withScope } from "../tensor/scope.ts";
import type { Storage } from "../tensor/storage.ts";
import type { Tensor } from "../tensor/tensor.ts";

export class PassScope {
  private readonly outer = currentScope();
  /** Gradients that still have to be read. */
  private readonly held = new Scope();
  /** What the current op makes. */
  private readonly temporary = new Scope();
  /** How many gradients lie in a piece of held memory: pieces may be views of each other. */
  private readonly readers = new Map<Storage, number>();
  /** How many listeners on edges still look at a piece of held memory. */
  private readonly watchers = new Map<Storage, number>();

  /** Keeps a gradient until `letGo`. Memory that the pass did not allocate is not its business. */
  hold({ storage }: Tensor): void {
    if (storage.scope === this.temporary) storage.moveTo(this.held);
    if (storage.scope === this.held) this.readers.set(storage, (this.readers.get(storage) ?? 0) + 1);
  }

  /** Undoes one `hold`; frees the memory when it was the last. */
  letGo({ storage }: Tensor): void {
    const readers = this.readers.get(storage);
    if (readers === undefined) return;
    if (readers > 1) this.readers.set(storage, readers - 1);
    else {
      this.readers.delete(storage);
      storage.free();
    }
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
      const readers = this.readers.get(storage) ?? 0;
      if (readers > 1) this.readers.set(storage, readers - 1);
      else if (storage.scope === this.held) {
        // Not freed at once: the engine may be about to add the very piece that the listener looked at.
        this.readers.delete(storage);
        storage.moveTo(this.temporary);
      }
    };
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
}
