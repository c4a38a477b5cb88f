/** What a layer reads, as the paper writes it: a feature map, a concatenation [a, b, …] or a sum of them. */

/**
 * How maps are combined: a sum, a difference, a product element by element (a gate), a product of matrices, or the
 * name of another op, `maximum` say.
 */
export type Sign = "+" | "-" | "⊙" | "·" | (string & {});

/** Maps are named by their index in the stage. */
export type Reading =
  | { readonly kind: "map"; readonly map: number }
  | { readonly kind: "concat"; readonly parts: readonly Reading[] }
  | { readonly kind: "combine"; readonly sign: Sign; readonly parts: readonly Reading[] };

/** Signs by which a chain of three reads the same however it is bracketed. */
const isAssociative = (sign: Sign): boolean => sign === "+" || sign === "⊙";

/** The maps in a reading, each once, in the order of their appearance. */
export function mapsOf(reading: Reading): number[] {
  const found = new Set<number>();
  const visit = (part: Reading): void => {
    if (part.kind === "map") found.add(part.map);
    else part.parts.forEach(visit);
  };
  visit(reading);
  return [...found];
}

/** True when both are the same expression of the same maps. */
function sameReading(a: Reading, b: Reading): boolean {
  if (a.kind === "map" || b.kind === "map") return a.kind === "map" && b.kind === "map" && a.map === b.map;
  if (a.kind === "combine" && b.kind === "combine" && a.sign !== b.sign) return false;
  return (
    a.kind === b.kind &&
    a.parts.length === b.parts.length &&
    a.parts.every((part, i) => sameReading(part, b.parts[i]))
  );
}

/** [a, [b, c]] is [a, b, c], and [a] is a. */
export function concatenated(parts: readonly Reading[]): Reading {
  const flat = parts.flatMap((part) => (part.kind === "concat" ? part.parts : [part]));
  return flat.length === 1 ? flat[0] : { kind: "concat", parts: flat };
}

/**
 * a + (b + c) is a + b + c. Combining what is equal is that: a norm reads a map and its statistics, and an activation
 * written out, x · σ(x), the same map twice.
 */
export function combined(sign: Sign, parts: readonly Reading[]): Reading {
  const [first, ...others] = parts;
  if (others.every((other) => sameReading(first, other))) return first;
  if (!isAssociative(sign)) return { kind: "combine", sign, parts };
  const flat = parts.flatMap((part) => (part.kind === "combine" && part.sign === sign ? part.parts : [part]));
  const unique = flat.filter((part, i) => flat.findIndex((other) => sameReading(other, part)) === i);
  return unique.length === 1 ? unique[0] : { kind: "combine", sign, parts: unique };
}

/** The expression with every map replaced. */
export function substitute(reading: Reading, replace: (map: number) => Reading): Reading {
  if (reading.kind === "map") return replace(reading.map);
  const parts = reading.parts.map((part) => substitute(part, replace));
  return reading.kind === "concat" ? concatenated(parts) : combined(reading.sign, parts);
}

/** A part of a concatenation and the channels of the whole that it fills: first, and one past the last. */
export interface PlacedPart {
  readonly part: Reading;
  readonly start: number;
  readonly end: number;
}

/** The parts of a concatenation that channels `from` to `to` (not included) lie in. */
export function partsWithin(
  parts: readonly Reading[],
  from: number,
  to: number,
  channelsOf: (map: number) => number,
): PlacedPart[] {
  const width = (reading: Reading): number => {
    if (reading.kind === "map") return channelsOf(reading.map);
    const widths = reading.parts.map(width);
    return reading.kind === "concat" ? widths.reduce((sum, n) => sum + n, 0) : Math.max(...widths);
  };
  let end = 0;
  return parts
    .map((part): PlacedPart => {
      const start = end;
      end += width(part);
      return { part, start, end };
    })
    .filter((placed) => placed.start < to && from < placed.end);
}
