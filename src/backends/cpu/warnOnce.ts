/** Warnings about what the engine lacks: each is said once, however many backends are made. */

const said = new Set<string>();

/** Prints `gradweave: text` on stderr, the first time. */
export function warnOnce(text: string): void {
  if (said.has(text)) return;
  said.add(text);
  console.warn(`gradweave: ${text}`);
}
