/** The main thread's side of the ring of commands (control.ts): it alone posts, and works on commands as workers do. */
import { chunkBits, claimOf, createControl, maxChunks, number, slot, slots, word } from "./control.ts";
import { Touched } from "./touched.ts";

export type RangeCall = (...args: readonly number[]) => void;

/** One range of items, and how it may be cut. */
export interface Command {
  readonly items: number;
  readonly itemsPerChunk: number;
  readonly args: readonly number[];
  /** Where the main thread's scratch memory begins; thread t has its own `t * scratchStride` bytes further. */
  readonly scratch: number;
  readonly scratchStride: number;
  /** What the range reads and writes but for that scratch memory. */
  readonly touched: Touched;
}

/** How long the main thread watches for others before it sleeps. */
const spinMilliseconds = 0.2;

/** What the main thread needs to work on a command. */
interface Posted {
  readonly range: RangeCall;
  readonly items: number;
  readonly itemsPerChunk: number;
  readonly chunks: number;
  readonly args: readonly number[];
  readonly scratch: number;
}

/** The first word of a command's slot. */
const wordsOf = (command: number): number => word.slots + slot.words * (command & (slots - 1));

/** Numbers of commands may have gone round: whether one was posted after another. */
const isAfter = (command: number, other: number): boolean => ((command - other) | 0) > 0;

export class Ring {
  readonly control = createControl();
  /** A claim takes a thread's share of half of what is left. */
  readonly #share: number;
  /** The number of the newest command, and of the oldest one that may have chunks left. */
  #posted = 0;
  #next = 1;
  /** The newest command of which it is known that it is done, as all before it are. */
  #done = 0;
  /** By slot. */
  readonly #commands: Posted[] = [];
  readonly #touched = Array.from({ length: slots }, () => new Touched());
  readonly #pause: () => void = (Atomics as { readonly pause?: () => void }).pause ?? (() => {});

  constructor(threads: number) {
    this.#share = 2 * threads;
  }

  /** Whether no command is under way. */
  get isIdle(): boolean {
    while (this.#done !== this.#posted && this.#isDone((this.#done + 1) | 0))
      this.#done = (this.#done + 1) | 0;
    return this.#done === this.#posted;
  }

  /** Posts a command for a function that workers know by a number. */
  post(id: number, range: RangeCall, command: Command): void {
    const { items, itemsPerChunk, args, scratch, scratchStride, touched } = command;
    const { words, numbers } = this.control;
    const chunks = Math.ceil(items / itemsPerChunk);
    const waitsFor = this.#clashing(touched);
    this.#posted = (this.#posted + 1) | 0;
    const place = this.#posted & (slots - 1);
    this.#touched[place].copy(touched);
    // Whoever called may use the array of arguments again.
    this.#commands[place] = { range, items, itemsPerChunk, chunks, args: args.slice(), scratch };
    const first = wordsOf(this.#posted);
    words[first + slot.functionId] = id;
    words[first + slot.items] = items;
    words[first + slot.itemsPerChunk] = itemsPerChunk;
    words[first + slot.chunks] = chunks;
    words[first + slot.share] = this.#share;
    words[first + slot.waitsFor] = waitsFor;
    words[first + slot.argumentCount] = args.length;
    const given = number.numbers * place;
    numbers[given + number.scratch] = scratch;
    numbers[given + number.scratchStride] = scratchStride;
    // One by one: `set` takes four times as long for so few.
    for (let i = 0; i < args.length; i++) numbers[given + number.arguments + i] = args[i];
    Atomics.store(words, first + slot.done, 0);
    Atomics.store(words, first + slot.claims, (this.#posted << chunkBits) | chunks);
    Atomics.store(words, word.posted, this.#posted);
    this.#tellOthers(chunks);
  }

  /**
   * Works on commands until so many at most have chunks left, and the slot is free that comes next.
   *
   * @throws what a range function threw on this thread, once all commands are done
   */
  keepPace(mostOpen: number): void {
    for (let changes = this.#changes; this.#open() > mostOpen; changes = this.#changes) this.#help(changes);
    this.#finish((this.#posted + 1 - slots) | 0);
  }

  /** Works on commands until all are done. Throws as `keepPace` does. */
  drain(): void {
    while (!this.isIdle) this.#finish((this.#done + 1) | 0);
  }

  #finish(command: number): void {
    for (let changes = this.#changes; !this.#isDone(command); changes = this.#changes) this.#help(changes);
  }

  /** Read before something is found to be missing, so that `#help` cannot sleep through what was missing. */
  get #changes(): number {
    return Atomics.load(this.control.words, word.changes);
  }

  /** Works on the oldest command that has chunks left and need not wait, or waits for others where there is none. */
  #help(changes: number): void {
    for (let command = this.#next; !isAfter(command, this.#posted); command = (command + 1) | 0)
      if (this.#isOpen(command) && this.#isReady(command)) {
        this.#work(command);
        return;
      }
    this.#waitForChange(changes);
  }

  /** Works on a command until all its chunks are claimed. */
  #work(command: number): void {
    const { range, items, itemsPerChunk, chunks, args, scratch } = this.#commands[command & (slots - 1)];
    const { words } = this.control;
    const first = wordsOf(command);
    let failure: { readonly error: unknown } | null = null;
    for (let left = this.#claim(first); left > 0; left = this.#claim(first)) {
      const begin = (chunks - left) * itemsPerChunk;
      const claimed = claimOf(left, this.#share);
      // After an error the rest is done without work.
      if (!failure)
        try {
          range(begin, Math.min(items, begin + claimed * itemsPerChunk), scratch, ...args);
        } catch (error) {
          failure = { error };
        }
      if (Atomics.add(words, first + slot.done, claimed) + claimed < chunks) continue;
      Atomics.store(words, first + slot.finished, command);
      this.#tellOthers(Number.POSITIVE_INFINITY);
    }
    if (!failure) return;
    this.drain();
    throw failure.error;
  }

  /** How many chunks of a slot were left, the claimed ones among them; 0 when none was. */
  #claim(first: number): number {
    const { words } = this.control;
    for (;;) {
      const claims = Atomics.load(words, first + slot.claims);
      const left = claims & maxChunks;
      const rest = claims - claimOf(left, this.#share);
      if (left === 0 || Atomics.compareExchange(words, first + slot.claims, claims, rest) === claims)
        return left;
    }
  }

  /** The commands under way that one which touches this must wait for, as `slot.waitsFor` has them. */
  #clashing(touched: Touched): number {
    if (this.isIdle) return 0;
    let waitsFor = 0;
    for (let before = this.#posted; before !== this.#done; before = (before - 1) | 0)
      if (!this.#isDone(before) && touched.clashesWith(this.#touched[before & (slots - 1)]))
        waitsFor |= 1 << (this.#posted - before);
    return waitsFor;
  }

  /** How many commands have chunks that nobody has claimed. */
  #open(): number {
    let open = 0;
    for (let command = this.#next; !isAfter(command, this.#posted); command = (command + 1) | 0)
      if (this.#isOpen(command)) open++;
      else if (command === this.#next) this.#next = (command + 1) | 0;
    return open;
  }

  /** Whether a command has chunks left; a slot that holds another one by now has none of it. */
  #isOpen(command: number): boolean {
    const claims = Atomics.load(this.control.words, wordsOf(command) + slot.claims);
    return ((claims ^ (command << chunkBits)) & ~maxChunks) === 0 && (claims & maxChunks) > 0;
  }

  /** Whether all commands that a command waits for are done. */
  #isReady(command: number): boolean {
    const waitsFor = this.control.words[wordsOf(command) + slot.waitsFor];
    for (let i = 0; waitsFor >> i; i++)
      if ((waitsFor >> i) & 1 && !this.#isDone((command - i - 1) | 0)) return false;
    return true;
  }

  #isDone(command: number): boolean {
    return !isAfter(command, Atomics.load(this.control.words, wordsOf(command) + slot.finished));
  }

  /** Wakes so many of those who sleep. */
  #tellOthers(most: number): void {
    const { words } = this.control;
    Atomics.add(words, word.changes, 1);
    if (Atomics.load(words, word.sleeping) > 0) Atomics.notify(words, word.changes, most);
  }

  /** Watches `changes` until it is not what it was, asleep after a while. */
  #waitForChange(changes: number): void {
    const { words } = this.control;
    const end = performance.now() + spinMilliseconds;
    for (let turn = 1; turn % 64 !== 0 || performance.now() < end; turn++) {
      if (Atomics.load(words, word.changes) !== changes) return;
      this.#pause();
    }
    Atomics.add(words, word.sleeping, 1);
    Atomics.wait(words, word.changes, changes);
    Atomics.sub(words, word.sleeping, 1);
  }
}
