/** What each output row and column is made of, as the tables that the resizing kernel reads. */
import { floatBytes } from "./rows.ts";
import type { Taps } from "./taps.ts";

/** A row that is the one above. */
export const sameAsAbove = -1;
/** What four columns take out of one vector: where it lies (16 bytes, for alignment), which bytes, and weights. */
export const entryBytes = 48;

/**
 * Words: for each output row how many input rows it is made of, or `sameAsAbove`; that number as a float; and each
 * one's index and weight.
 */
export function rowTable(taps: Taps): Int32Array {
  const words: number[] = [];
  const bits = new Int32Array(1);
  const weight = new Float32Array(bits.buffer);
  const texts = taps.map((list) => JSON.stringify(list));
  for (const [p, list] of taps.entries()) {
    if (p > 0 && texts[p] === texts[p - 1]) {
      words.push(sameAsAbove);
      continue;
    }
    weight[0] = list.length;
    words.push(list.length, bits[0]);
    for (const tap of list) {
      weight[0] = tap.weight;
      words.push(tap.at, bits[0]);
    }
  }
  return Int32Array.from(words);
}

interface ColumnTable {
  /** For each four output columns how many vectors they take their pixels from. */
  readonly counts: Int32Array;
  /** What they take from each. */
  readonly entries: Uint8Array;
  /** How many pixels each column is made of. */
  readonly divisors: Float32Array;
}

export function columnTable(taps: Taps): ColumnTable {
  const counts: number[] = [];
  const entries: Uint8Array[] = [];
  for (let q = 0; q < taps.length; q += 4) {
    const left = taps.slice(q, q + 4).map((list) => [...list].sort((a, b) => a.at - b.at));
    let count = 0;
    for (; left.some((list) => list.length > 0); count++) {
      const first = Math.min(...left.flatMap(([tap]) => (tap ? [tap.at] : [])));
      const entry = new Uint8Array(entryBytes);
      const weights = new Float32Array(entry.buffer, 32, 4);
      new Int32Array(entry.buffer, 0, 1)[0] = floatBytes * first;
      // A swizzle gives 0 for bytes that do not exist.
      entry.fill(0xff, 16, 32);
      for (const [lane, list] of left.entries()) {
        const [tap] = list;
        if (!tap || tap.at >= first + 4) continue;
        list.shift();
        weights[lane] = tap.weight;
        for (let byte = 0; byte < floatBytes; byte++)
          entry[16 + floatBytes * lane + byte] = floatBytes * (tap.at - first) + byte;
      }
      entries.push(entry);
    }
    counts.push(count);
  }
  const all = new Uint8Array(entryBytes * entries.length);
  for (const [i, entry] of entries.entries()) all.set(entry, entryBytes * i);
  const divisors = Float32Array.from({ length: 4 * counts.length }, (_, q) => taps[q]?.length ?? 1);
  return { counts: Int32Array.from(counts), entries: all, divisors };
}
