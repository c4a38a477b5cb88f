/**
 * Threads that share the memory: the main thread cuts ranges of items into chunks and posts them, one command after
 * another. Everyone works on a command's chunks, and nobody on the next one before the last of them is done.
 *
 * The main thread goes on as soon as it has posted a command: while it prepares the next one, which takes 40 to 100
 * microseconds in a network whose kernels push everything else out of the caches, workers are busy already. It helps
 * with a command when it posts the one behind it, and with all that is left when someone wants to see results
 * (`settle`). So it is never more than two commands ahead, and memory that a kernel reads or writes must be left alone
 * until `settle` returns; freed memory may be used again by later commands, since those come after.
 *
 * Workers start when the first range is worth it; until they run, and wherever they cannot, the main thread does
 * everything itself. They are no reason for the process to live.
 */
import type { WasmMemory, WasmModule } from "../encoder/index.ts";
import {
  chunkBits,
  claimOf,
  createControl,
  maxArguments,
  maxChunks,
  number,
  slot,
  slots,
  word,
} from "./control.ts";
import type { FailureMessage, ModuleMessage } from "./workerSource.ts";
import { endWithPool, startThreads, type Thread, warnOfLoss } from "./workers.ts";

export type RangeCall = (...args: readonly number[]) => void;

/** One range of items, and how it may be cut. */
export interface Command {
  readonly items: number;
  readonly itemsPerChunk: number;
  readonly args: readonly number[];
  /** Where the main thread's scratch memory begins; thread t has its own `t * scratchStride` bytes further. */
  readonly scratch: number;
  readonly scratchStride: number;
}

/** Chunks per thread: the smallest claims are one chunk. */
const chunksPerThread = 16;
/** How long the main thread watches for the end of others' chunks before it sleeps. */
const mainSpinMilliseconds = 0.2;

/** A command in the ring, as the main thread works on it. */
interface Posted extends Command {
  readonly range: RangeCall;
  readonly chunks: number;
}

interface Announced {
  readonly id: number;
  readonly name: string;
  readonly module: ModuleMessage & { announced: boolean };
}

export class ThreadPool {
  /** Threads that are wanted, the main thread among them. */
  readonly threads: number;
  readonly #memory: WasmMemory;
  readonly #control = createControl();
  readonly #functions = new WeakMap<RangeCall, Announced>();
  #nextId = 0;
  /** The number of the newest command, and of the next one that the main thread has not helped with. */
  #posted = 0;
  #next = 1;
  /** By slot. */
  readonly #ring: Posted[] = [];
  /** Null until the first range is worth it. */
  #workers: readonly Thread[] | null = null;
  readonly #pause: () => void = (Atomics as { readonly pause?: () => void }).pause ?? (() => {});

  /** A claim takes a thread's share of half of what is left. */
  readonly #share: number;

  constructor(memory: WasmMemory, threads: number) {
    this.#memory = memory;
    this.threads = threads;
    this.#share = 2 * threads;
  }

  /** Workers that have started and take part. */
  get running(): number {
    return this.#workers?.length ? Atomics.load(this.#control.words, word.ready) : 0;
  }

  /** Makes the exports of a module known, so that `run` may be given them. */
  register(compiled: WasmModule, exports: Readonly<Record<string, RangeCall>>): void {
    const names = Object.keys(exports);
    const module = { firstId: this.#nextId, names, compiled, announced: false };
    names.forEach((name, i) => {
      this.#functions.set(exports[name], { id: module.firstId + i, name, module });
    });
    this.#nextId += names.length;
  }

  /** How many items a chunk of a range should have: a fair number of chunks, none smaller than `grain`. */
  itemsPerChunk(items: number, grain: number): number {
    return Math.max(grain, Math.ceil(items / Math.min(maxChunks, chunksPerThread * this.threads)));
  }

  /** Commands that the main thread has posted and not helped with. Numbers may have gone round. */
  get #ahead(): number {
    return (this.#posted - this.#next + 1) | 0;
  }

  /** Whether no command is under way. */
  get isIdle(): boolean {
    return this.#ahead === 0 && Atomics.load(this.#control.words, word.completed) === this.#posted;
  }

  /**
   * Does the items 0 to before `items`: now where there is no other thread, and else, on all threads, before any range
   * that is run later and before `settle` returns.
   *
   * @throws what `settle` throws, for ranges before this one
   */
  run(range: RangeCall, command: Command): void {
    const known = this.#functions.get(range);
    const workers = this.#workers ?? this.#start();
    if (!known || this.running === 0) {
      this.settle();
      range(0, command.items, command.scratch, ...command.args);
      return;
    }
    const { length } = command.args;
    if (length > maxArguments)
      throw new RangeError(
        `${known.name}: ${length} arguments, a range function has ${maxArguments} at most`,
      );
    this.#announce(known, workers);
    this.#post(known.id, range, command);
    if (this.#ahead > 1) this.#help();
    this.#checkFailures();
  }

  /**
   * Returns when everything that was run is done.
   *
   * @throws what a range function threw on this thread, or an Error that names the function for what it threw on
   *   another; always after every thread has let go of all ranges
   */
  settle(): void {
    if (this.isIdle) return;
    this.#drain();
    this.#checkFailures();
  }

  /** Ends the workers, once everything is done; from then on the main thread does everything. */
  async close(): Promise<void> {
    this.settle();
    const threads = this.#workers ?? [];
    this.#workers = [];
    await Promise.all(threads.map(({ worker }) => worker.terminate()));
  }

  #post(id: number, range: RangeCall, command: Command): void {
    const { items, itemsPerChunk, args, scratch, scratchStride } = command;
    const { words, numbers } = this.#control;
    const chunks = Math.ceil(items / itemsPerChunk);
    this.#posted = (this.#posted + 1) | 0;
    const place = this.#posted & (slots - 1);
    // Whoever called may use the array of arguments again.
    this.#ring[place] = { range, items, itemsPerChunk, args: args.slice(), scratch, scratchStride, chunks };
    const first = word.slots + slot.words * place;
    words[first + slot.functionId] = id;
    words[first + slot.items] = items;
    words[first + slot.itemsPerChunk] = itemsPerChunk;
    words[first + slot.chunks] = chunks;
    words[first + slot.share] = this.#share;
    words[first + slot.argumentCount] = args.length;
    const given = number.numbers * place;
    numbers[given + number.scratch] = scratch;
    numbers[given + number.scratchStride] = scratchStride;
    // One by one: `set` takes four times as long for so few.
    for (let i = 0; i < args.length; i++) numbers[given + number.arguments + i] = args[i];
    Atomics.store(words, first + slot.done, 0);
    Atomics.store(words, first + slot.claims, (this.#posted << chunkBits) | chunks);
    Atomics.store(words, word.posted, this.#posted);
    if (Atomics.load(words, word.sleeping) > 0) Atomics.notify(words, word.posted, chunks);
  }

  /** Works on the oldest command that it has not helped with, until all its chunks are claimed. */
  #help(): void {
    const current = this.#next;
    const place = current & (slots - 1);
    const { range, items, itemsPerChunk, chunks, args, scratch } = this.#ring[place];
    const { words } = this.#control;
    const first = word.slots + slot.words * place;
    this.#next = (current + 1) | 0;
    this.#waitFor((current - 1) | 0);
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
      Atomics.store(words, word.completed, current);
      if (Atomics.load(words, word.waiting) > 0) Atomics.notify(words, word.completed);
    }
    if (!failure) return;
    this.settle();
    throw failure.error;
  }

  /** How many chunks of a slot were left, the claimed ones among them; 0 when none was. */
  #claim(first: number): number {
    const { words } = this.#control;
    for (;;) {
      const claims = Atomics.load(words, first + slot.claims);
      const left = claims & maxChunks;
      const rest = claims - claimOf(left, this.#share);
      if (left === 0 || Atomics.compareExchange(words, first + slot.claims, claims, rest) === claims)
        return left;
    }
  }

  /** Waits until the command of a number and all before it are done. */
  #waitFor(command: number): void {
    const { words } = this.#control;
    let completed = Atomics.load(words, word.completed);
    if (((command - completed) | 0) <= 0) return;
    const end = performance.now() + mainSpinMilliseconds;
    for (let turn = 1; turn % 64 !== 0 || performance.now() < end; turn++) {
      completed = Atomics.load(words, word.completed);
      if (((command - completed) | 0) <= 0) return;
      this.#pause();
    }
    Atomics.add(words, word.waiting, 1);
    while (((command - completed) | 0) > 0) {
      Atomics.wait(words, word.completed, completed);
      completed = Atomics.load(words, word.completed);
    }
    Atomics.sub(words, word.waiting, 1);
  }

  #drain(): void {
    while (this.#ahead > 0) this.#help();
    this.#waitFor(this.#posted);
  }

  #checkFailures(): void {
    const { words } = this.#control;
    if (Atomics.load(words, word.failures) === 0) return;
    this.#drain();
    this.#throwFailure(this.#workers ?? []);
  }

  #announce({ module }: Announced, workers: readonly Thread[]): void {
    if (module.announced) return;
    module.announced = true;
    const { firstId, names, compiled } = module;
    const message: ModuleMessage = { firstId, names, compiled };
    for (const { port } of workers) port.postMessage(message);
  }

  #throwFailure(workers: readonly Thread[]): never {
    Atomics.store(this.#control.words, word.failures, 0);
    const failures = workers.flatMap(({ received }) => {
      const found: FailureMessage[] = [];
      for (let next = received(); next; next = received()) found.push(next);
      return found;
    });
    const texts = failures.map(({ error, functionName }) => `${functionName}: ${error}`);
    throw new Error(
      `cpu: a worker thread failed in ${texts.join(", ")}; run with GRADWEAVE_THREADS=1 to see where, ` +
        "and please report it",
    );
  }

  /** Starts the workers. Where there can be none, says so once and leaves the list empty. */
  #start(): readonly Thread[] {
    try {
      this.#workers = startThreads(this.threads - 1, this.#control, this.#memory);
      endWithPool(this, this.#workers);
    } catch (cause) {
      this.#workers = [];
      warnOfLoss(cause);
    }
    return this.#workers;
  }
}
