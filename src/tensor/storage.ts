/** A piece of memory that tensors look at, who owns it, and how often it was written. */
import type { Backend, Buffer } from "../backends/backend.ts";
import { createTypedArray, type DType, type TypedArray } from "../backends/dtype.ts";
import type { MemoryCategory } from "../backends/memory.ts";
import { currentScope, type Scope } from "./scope.ts";
import { holdsValues, shapesOnlyBackend } from "./shapesOnly.ts";

/**
 * The net under forgotten memory: the buffers to give back once a storage, and with it the one that accompanies it,
 * can be reached no more. It does not refer to the storages themselves.
 *
 * A class, not an object literal: nets live long, so V8 would conclude that what this place in the code makes always
 * does, and put the buffers of passing tensors into the old generation with it, where they pile up.
 */
class Net {
  private readonly backend: Backend;
  private own: Buffer | null;
  private companion: Buffer | null = null;

  constructor(backend: Backend, own: Buffer) {
    this.backend = backend;
    this.own = own;
  }

  /** Takes the buffer of another storage on the same backend. False when it has one already. */
  take(backend: Backend, buffer: Buffer): boolean {
    if (this.companion || backend !== this.backend) return false;
    this.companion = buffer;
    return true;
  }

  /** Lets go of a buffer, which has another owner from now on. False when none is left. */
  letGo(buffer: Buffer): boolean {
    if (buffer === this.own) this.own = null;
    else this.companion = null;
    return this.own !== null || this.companion !== null;
  }

  release(): void {
    if (this.own) this.backend.release(this.own);
    if (this.companion) this.backend.release(this.companion);
  }
}

const nets = new FinalizationRegistry<Net>((net) => net.release());

/** Memory shared by a tensor and its views. Freed by its scope, by `free()`, or when nothing refers to it. */
export class Storage {
  /** Where the memory lies. */
  readonly home: Backend;
  readonly dtype: DType;
  readonly length: number;
  /** Counts writes after creation, so that a tensor saved for the backward pass can tell that it was changed. */
  version = 0;
  private memory: Buffer | null;
  private owner: Scope | null = null;
  /** Catches the memory when no scope owns it. */
  private net: Net | null = null;
  /** Whose net it is when it is not this storage's. Referring to it keeps it, and so the memory, from being caught. */
  private host: Storage | null = null;

  /** `mayRound`: the backend may store f32 in half precision, where it was asked to. */
  constructor(backend: Backend, dtype: DType, length: number, category: MemoryCategory, mayRound = false) {
    this.home = backend;
    this.dtype = dtype;
    this.length = length;
    this.memory = backend.allocate(dtype, length, category, mayRound);
    this.setOwner(currentScope(), this.memory);
  }

  get freed(): boolean {
    return this.memory === null;
  }

  /** The backend that computes with it: its home, or the one that computes nothing while a graph is recorded. */
  get backend(): Backend {
    return shapesOnlyBackend() ?? this.home;
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
    if (!this.memory || (scope === this.owner && !this.host)) return;
    this.leave(this.memory);
    this.setOwner(scope, this.memory);
  }

  /**
   * Lives as long as `host` does, and longer if it is reachable longer. Where no scope owns the host, one storage at a
   * time shares its net until it is freed: registering the gradient of every parameter anew in every step would leave
   * hundreds of bytes for each in V8's old generation.
   */
  accompany(host: Storage): void {
    if (!this.memory || this === host) return;
    if (!host.net?.take(this.home, this.memory)) {
      this.moveTo(host.owner);
      return;
    }
    this.leave(this.memory);
    this.net = host.net;
    this.host = host;
  }

  /**
   * Lets `make` write every value: into the memory itself where the host reaches it, so that large tensors need no second
   * copy. Where values are not held, `make` is not called. Counting the write is the caller's business.
   */
  fill(make: (values: TypedArray) => void): void {
    const { backend, buffer } = this;
    if (!holdsValues(backend)) return;
    if (backend.memoryOf) {
      make(backend.memoryOf(buffer));
      return;
    }
    const values = createTypedArray(this.dtype, this.length);
    make(values);
    backend.write(buffer, values);
  }

  setCategory(category: MemoryCategory): void {
    this.home.recategorize(this.buffer, category);
  }

  free(): void {
    if (!this.memory) return;
    this.leave(this.memory);
    this.home.release(this.memory);
    this.memory = null;
  }

  private leave(memory: Buffer): void {
    this.owner?.remove(this);
    if (this.net && !this.net.letGo(memory)) nets.unregister(this.net);
    this.owner = null;
    this.net = null;
    this.host = null;
  }

  private setOwner(scope: Scope | null, memory: Buffer): void {
    this.owner = scope;
    // Registering every temporary of a step would cost more than the temporaries.
    if (scope) scope.add(this);
    else {
      this.net = new Net(this.home, memory);
      nets.register(this, this.net, this.net);
    }
  }
}
