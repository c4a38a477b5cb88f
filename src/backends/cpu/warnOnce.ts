/** Warnings about what the engine lacks: each is said once, however many backends are made. */

const said = new Set<string>();
/** What waits to be said, while warnings are held back. */
let held: string[] | null = null;

/** Prints `gradweave: text` on stderr, the first time. */
export function warnOnce(text: string): void {
  if (said.has(text)) return;
  if (held) {
    held.push(text);
    return;
  }
  said.add(text);
  console.warn(`gradweave: ${text}`);
}

/** Runs `body`, and prints its warnings when `say` is first called: where they concern nobody, they are never said. */
export function holdWarnings<Result>(body: () => Result): { readonly result: Result; say(): void } {
  const own: string[] = [];
  const before = held;
  held = own;
  try {
    const result = body();
    return {
      result,
      say() {
        for (const text of own.splice(0)) warnOnce(text);
      },
    };
  } finally {
    held = before;
  }
}
