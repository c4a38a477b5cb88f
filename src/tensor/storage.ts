/** A piece of memory that tensors look at, who owns it, and how often it was written. */
import type { Backend, Buffer } from "../backends/backend.ts";
import type { DType } from "../backends/dtype.ts";
import type { MemoryCategory } from "../backends/memory.ts";
import { currentScope, type Scope } from "./scope.ts";

interface Abandoned {
  readonly backend: Backend;
  readonly buffer: Buffer;
}

/** The net under forgotten memory: a storage nobody can reach any more gives its buffer back. */
const collected = new FinalizationRegistry<Abandoned>(({ backend, buffer }) => backend.release(buffer));

/** Memory shared by a tensor and its views. Freed by its scope, by `free()`, or when nothing refers to it. */
export class Storage {
  readonly backend: Backend;
  readonly dtype: DType;
  readonly length: number;
  /** Counts writes after creation, so that a tensor saved for the backward pass can tell that it was changed. */
  version = 0;
  private memory: Buffer | null;
  private owner: Scope | null = null;

  constructor(backend: Backend, dtype: DType, length: number, category: MemoryCategory) {
    this.backend = backend;
    this.dtype = dtype;
    this.length = length;
    this.memory = backend.allocate(dtype, length, category);
    this.setOwner(currentScope());
  }

  get freed(): boolean {
    return this.memory === null;
  }

  /** The buffer. Throws when the storage was freed. */
  get buffer(): Buffer {
    if (!this.memory)
      throw new Error(
        "tensor: its memory was freed when its scope ended or by dispose(); return it from the scope or call keep() on it",
      );
    return this.memory;
  }

  /** The scope that will free it, or null when it lives until it is unreachable. */
  get scope(): Scope | null {
    return this.owner;
  }

  /** Hands the storage to another scope (null: to none, it then lives as long as it is reachable). */
  moveTo(scope: Scope | null): void {
    if (this.freed || scope === this.owner) return;
    if (this.owner) this.owner.remove(this);
    else collected.unregister(this);
    this.setOwner(scope);
  }

  setCategory(category: MemoryCategory): void {
    this.backend.recategorize(this.buffer, category);
  }

  free(): void {
    if (!this.memory) return;
    if (this.owner) this.owner.remove(this);
    else collected.unregister(this);
    this.owner = null;
    this.backend.release(this.memory);
    this.memory = null;
  }

  /**
   * A scope frees what it owns; only what no scope owns needs the net. The registry holds the buffer but not the
   * storage. Registering every temporary of a step would cost more than the temporaries.
   */
  private setOwner(scope: Scope | null): void {
    this.owner = scope;
    if (scope) scope.add(this);
    else collected.register(this, { backend: this.backend, buffer: this.buffer }, this);
  }
}
