/**
 * Philox 4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random numbers:
 * as easy as 1, 2, 3" (SC 2011), section 4.3: four random words are a pure function of a 128-bit counter and
 * a 64-bit key. Nothing is carried from one block to the next, so a lane, a worker or a shader computes any
 * element on its own, and resuming needs only the counter.
 *
 * One round maps (L0, R0, L1, R1) to (hi(M1 L1) ^ R0 ^ k0, lo(M1 L1), hi(M0 L0) ^ R1 ^ k1, lo(M0 L0));
 * the key grows by the Weyl constants between rounds.
 */

import { blocksPerCall, compilePhilox, type PhiloxWasm } from "./philoxWasm.ts";

const multiplier0 = 0xd2511f53;
const multiplier1 = 0xcd9e8d57;
const weyl0 = 0x9e3779b9;
const weyl1 = 0xbb67ae85;
const rounds = 10;

/** Random words in one block. */
export const wordsPerBlock = 4;

/**
 * The upper 32 bits of the 64-bit product of two unsigned 32-bit words, as a signed 32-bit integer.
 * Schoolbook on 16-bit halves: no partial sum exceeds 32 bits, so integer registers are enough.
 */
export function multiplyHigh(a: number, b: number): number {
  const aHigh = a >>> 16;
  const aLow = a & 0xffff;
  const bHigh = b >>> 16;
  const bLow = b & 0xffff;
  const middle = (Math.imul(aHigh, bLow) + (Math.imul(aLow, bLow) >>> 16)) | 0;
  const cross = (Math.imul(aLow, bHigh) + (middle & 0xffff)) | 0;
  return (Math.imul(aHigh, bHigh) + (middle >>> 16) + (cross >>> 16)) | 0;
}

/**
 * One block: writes the four words for `counter` (4 words, least significant first) and `key` (2 words)
 * to `out[offset]` and on.
 */
export function philox4x32(
  counter: ArrayLike<number>,
  key: ArrayLike<number>,
  out: Uint32Array,
  offset = 0,
): void {
  if (counter.length !== 4 || key.length !== 2) {
    throw new RangeError(
      `philox4x32: needs a counter of 4 words and a key of 2, got ${counter.length} and ${key.length}`,
    );
  }
  if (!(offset >= 0 && offset + wordsPerBlock <= out.length)) {
    throw new RangeError(
      `philox4x32: 4 words at offset ${offset} do not fit into an array of ${out.length}; make it longer`,
    );
  }
  const [c0 = 0, c1 = 0, c2 = 0, c3 = 0] = Array.from(counter);
  const [k0 = 0, k1 = 0] = Array.from(key);
  writeBlock(c0, c1, c2, c3, k0, k1, out, offset);
}

/** Fewer blocks are faster computed here than called for. */
const fewestForWasm = 32;

/** Compiled when it is first worth it. */
let compiled: PhiloxWasm | null | undefined;

function wasm(): PhiloxWasm | null {
  compiled ??= compilePhilox({
    multipliers: [multiplier0, multiplier1],
    keySteps: [weyl0, weyl1],
    rounds,
  });
  return compiled;
}

/**
 * `blocks` consecutive blocks into `out[0 .. 4 * blocks)`: the lowest counter word runs from `firstBlock`,
 * the other three stay as given.
 */
export function philoxBlocks(
  out: Uint32Array,
  blocks: number,
  firstBlock: number,
  c1: number,
  c2: number,
  c3: number,
  k0: number,
  k1: number,
): void {
  const fast = blocks >= fewestForWasm ? wasm() : null;
  if (fast) {
    for (let start = 0; start < blocks; start += blocksPerCall) {
      const count = Math.min(blocksPerCall, blocks - start);
      fast.writeBlocks(count, firstBlock + start, c1, c2, c3, k0, k1);
      out.set(fast.words.subarray(0, count * wordsPerBlock), start * wordsPerBlock);
    }
    return;
  }
  for (let block = 0; block < blocks; block++) {
    writeBlock(firstBlock + block, c1, c2, c3, k0, k1, out, block * wordsPerBlock);
  }
}

function writeBlock(
  c0: number,
  c1: number,
  c2: number,
  c3: number,
  k0: number,
  k1: number,
  out: Uint32Array,
  offset: number,
): void {
  let left0 = c0 | 0;
  let right0 = c1 | 0;
  let left1 = c2 | 0;
  let right1 = c3 | 0;
  let key0 = k0 | 0;
  let key1 = k1 | 0;
  for (let round = 0; round < rounds; round++) {
    const high0 = multiplyHigh(multiplier0, left0);
    const low0 = Math.imul(multiplier0, left0);
    const high1 = multiplyHigh(multiplier1, left1);
    const low1 = Math.imul(multiplier1, left1);
    left0 = high1 ^ right0 ^ key0;
    right0 = low1;
    left1 = high0 ^ right1 ^ key1;
    right1 = low0;
    key0 = (key0 + weyl0) | 0;
    key1 = (key1 + weyl1) | 0;
  }
  out[offset] = left0;
  out[offset + 1] = right0;
  out[offset + 2] = left1;
  out[offset + 3] = right1;
}
