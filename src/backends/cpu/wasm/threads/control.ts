/**
 * The words through which the main thread and its workers agree on who does what: a ring of commands, each cut into
 * chunks that whoever is free claims. A command says which of those before it must be done first (`waitsFor`); threads
 * work on the oldest one that need not wait any more and has chunks left.
 *
 * A command's `claims` hold its number above and the chunks that are left below, in one word. Chunks are claimed by
 * taking them off with compareExchange, which fails when the slot holds another command by now: a thread that was
 * stopped in between can never take a chunk of a newer command with the arguments of an older one. Everything else
 * about a command is written before `claims` and stays until its last chunk is done.
 *
 * A thread claims its share of half of what is left, and so ever less: a few long runs to begin with, and chunks of a
 * thirty-second at the end, for which the others wait if that thread is held up ("guided self-scheduling", Polychronopoulos
 * and Kuck 1987). Beside eight equal chunks a step of DenseNet-121 on two threads takes 2 to 4 % less time on a machine
 * that has other things to do.
 */

/** Word indices; words that different threads write lie on cache lines of their own. */
export const word = {
  /** The number of the newest command. */
  posted: 0,
  /** Counts commands that were posted and commands that were finished: what threads watch that find nothing to do. */
  changes: 16,
  /** Threads that sleep until `changes` does. */
  sleeping: 32,
  /** Workers that have started. */
  ready: 48,
  /** Errors of workers that the main thread has not seen yet. */
  failures: 49,
  /** Where the first slot of the ring begins. */
  slots: 64,
} as const;

/** Commands that the ring holds, the one that is being written among them; a power of two. */
export const slots = 8;

/** Word indices in a slot. */
export const slot = {
  /** Which function. */
  functionId: 0,
  items: 1,
  itemsPerChunk: 2,
  chunks: 3,
  argumentCount: 4,
  /** A claim takes one in so many of the chunks that are left, and one at least. */
  share: 5,
  /** Bit i: not to be begun before the command i + 1 before this one is done. */
  waitsFor: 6,
  /** `number << chunkBits | chunks that nobody has claimed`. */
  claims: 16,
  /** Chunks that are finished. */
  done: 32,
  /** The number of the last command in this slot of which every chunk is done. */
  finished: 48,
  /** From one slot to the next. */
  words: 64,
} as const;

/** Bits of `claims` that count chunks. The other 24 repeat after 16 million commands, a minute's at the very least. */
export const chunkBits = 8;
export const maxChunks = (1 << chunkBits) - 1;

/** How many chunks a claim takes. */
export const claimOf = (left: number, share: number): number => Math.max(1, Math.floor(left / share));

export const maxArguments = 62;

/** In a slot's numbers: where scratch memory begins, how many bytes each thread has of it, and the arguments. */
export const number = {
  scratch: 0,
  scratchStride: 1,
  arguments: 2,
  /** From one slot to the next. */
  numbers: 2 + maxArguments,
} as const;

const wordBytes = 4 * (word.slots + slots * slot.words);

export interface Control {
  readonly words: Int32Array<SharedArrayBuffer>;
  /** Behind the words, in the same memory. */
  readonly numbers: Float64Array<SharedArrayBuffer>;
}

export function createControl(): Control {
  const buffer = new SharedArrayBuffer(wordBytes + 8 * slots * number.numbers);
  return {
    words: new Int32Array(buffer, 0, wordBytes / 4),
    numbers: new Float64Array(buffer, wordBytes),
  };
}
