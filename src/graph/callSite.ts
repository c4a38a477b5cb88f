/** Which line of a user's program is running, for errors that arise deep inside the library. */

/** Folders of the library that users' modules call into; what calls them is the line that a user looks for. */
const internal = ["autograd", "backends", "graph", "nn", "tensor"];

/** This file's folder's parent: `src/` here, the root of the compiled modules in a package. */
const root = new URL("..", import.meta.url).href;

/** `FILE:LINE:COLUMN` in one line of a stack as V8 prints it; null for the engine's own frames. */
function location(frame: string): string | null {
  const match = /(?:\(|at (?:async )?)([^()\s][^()]*:\d+:\d+)\)?$/.exec(frame.trim());
  const place = match?.[1] ?? null;
  return place?.startsWith("node:") ? null : place;
}

const asUrl = (place: string): string => (place.includes("://") ? place : `file://${place}`);

/**
 * The innermost line outside of the library's internals that is being executed, as `FILE:LINE:COLUMN`; null where the
 * engine gives no such stack (a bundle has one file for everything).
 */
export function userLine(): string | null {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 100;
  const stack = new Error().stack ?? "";
  Error.stackTraceLimit = limit;
  const places = stack.split("\n").flatMap((frame) => location(frame) ?? []);
  const isInternal = (place: string): boolean =>
    internal.some((folder) => asUrl(place).startsWith(`${root}${folder}/`));
  const found = places.find((place) => !isInternal(place));
  // With no internal frame the files cannot be told apart.
  return found !== undefined && places.some(isInternal) ? found.replace(/^file:\/\//, "") : null;
}
