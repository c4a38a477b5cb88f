/**
 * Scopes free the memory of a training step when the step is over, so that nobody calls dispose().
 *
 *     const loss = scope(() => { const loss = model.loss(x, y); loss.backward(); optimizer.step(); return loss; });
 *
 * Everything allocated inside dies at the end, except what is returned, what `keep` was called on, and what the
 * library itself moved out (gradients of parameters, optimizer state).
 */

/** What a scope can hold: anything with memory to free. */
export interface Scoped {
  readonly scope: Scope | null;
  free(): void;
  moveTo(scope: Scope | null): void;
}

let current: Scope | null = null;

/** The innermost open scope. */
export function currentScope(): Scope | null {
  return current;
}

/** An open scope, for `using` and for code that cannot be one synchronous function. */
export class Scope implements Disposable {
  readonly parent: Scope | null;
  private readonly members = new Set<Scoped>();
  private open = true;

  constructor() {
    this.parent = current;
    current = this;
  }

  add(member: Scoped): void {
    this.members.add(member);
  }

  remove(member: Scoped): void {
    if (this.open) this.members.delete(member);
  }

  /** Frees what the scope holds and leaves it open. */
  clear(): void {
    for (const member of [...this.members]) member.free();
  }

  /** Closes the scope and frees what it still holds. Scopes close in the reverse order of their opening. */
  close(): void {
    if (!this.open) return;
    if (current !== this)
      throw new Error(
        "scope: closed while an inner scope is still open; close scopes in reverse order of opening",
      );
    this.open = false;
    current = this.parent;
    for (const member of this.members) member.free();
    this.members.clear();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** A result that can leave a scope: tensors, and arrays or plain objects that hold them. */
export interface Escaping {
  readonly storage: Scoped;
}

function isEscaping(value: unknown): value is Escaping {
  return typeof value === "object" && value !== null && "storage" in value && isScoped(value.storage);
}

function isScoped(value: unknown): value is Scoped {
  return typeof value === "object" && value !== null && "moveTo" in value && "free" in value;
}

/** Moves what `from` owns of `value` one scope up; what belongs elsewhere stays there. */
function moveOut(value: unknown, from: Scope): void {
  if (isEscaping(value)) {
    if (value.storage.scope === from) value.storage.moveTo(from.parent);
  } else if (Array.isArray(value)) for (const item of value) moveOut(item, from);
  else if (typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype)
    for (const item of Object.values(value)) moveOut(item, from);
}

/**
 * Runs `body` and frees every tensor allocated in it, except those in its result (a tensor, or an array or plain
 * object of them), which move to the enclosing scope. Throws when `body` returns a promise: the tensors would be
 * freed before it settles; read values after the scope, or open a `Scope` with `using`.
 */
export function scope<Result>(body: () => Result): Result {
  const inner = new Scope();
  try {
    const result = body();
    if (result instanceof Promise)
      throw new Error(
        "scope: the body returned a promise, its tensors would be freed before it settles; " +
          "read values after the scope or open one with `using scope = new Scope()`",
      );
    moveOut(result, inner);
    return result;
  } finally {
    // A body that threw may have left scopes open; its error must not be replaced by a complaint about them.
    while (current && current !== inner) current.close();
    inner.close();
  }
}

/** Runs `body` with `scope` as the innermost one, or with none: for what shall outlive the scopes open now. */
export function withScope<Result>(scope: Scope | null, body: () => Result): Result {
  const saved = current;
  current = scope;
  try {
    return body();
  } finally {
    current = saved;
  }
}

/** Runs `body` with no scope open: what it allocates lives as long as it is reachable. */
export function outsideScopes<Result>(body: () => Result): Result {
  return withScope(null, body);
}
