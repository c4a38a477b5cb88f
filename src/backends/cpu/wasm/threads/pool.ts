/**
 * Threads that share the memory: the main thread cuts ranges of items into chunks and posts them as commands. Everyone
 * works on a command's chunks, but on none before those commands are done that read or write the same memory. So a
 * thread that finds no chunk left goes on with the next command while others finish theirs, and threads wait for each
 * other where the numbers of one kernel are the next one's.
 *
 * The main thread goes on as soon as it has posted a command: while it prepares the next one, which takes 40 to 100
 * microseconds in a network whose kernels push everything else out of the caches, workers are busy already. It helps
 * when several commands have chunks left, and with all that is left when someone wants to see results (`settle`).
 * Memory that a kernel reads or writes must be left alone until `settle` returns; freed memory may be used again by
 * later commands, since those wait for whoever uses it.
 *
 * Workers start when the first range is worth it; until they run, and wherever they cannot, the main thread does
 * everything itself. They are no reason for the process to live.
 */
import type { WasmMemory, WasmModule } from "../encoder/index.ts";
import { maxArguments, maxChunks, word } from "./control.ts";
import { type Command, type RangeCall, Ring } from "./ring.ts";
import type { FailureMessage, ModuleMessage } from "./workerSource.ts";
import { endWithPool, startThreads, type Thread, warnOfLoss } from "./workers.ts";

/** Chunks per thread: the smallest claims are one chunk. */
const chunksPerThread = 16;
/**
 * So many commands may have chunks left when the main thread goes on. With one, the worker of two threads has nothing
 * to do for 10 to 20 ms of a step of DenseNet-121 that takes 680, with three for 2.
 */
const mostOpen = 3;

interface Announced {
  readonly id: number;
  readonly name: string;
  readonly module: ModuleMessage & { announced: boolean };
}

export class ThreadPool {
  /** Threads that are wanted, the main thread among them. */
  readonly threads: number;
  readonly #memory: WasmMemory;
  readonly #ring: Ring;
  readonly #functions = new WeakMap<RangeCall, Announced>();
  #nextId = 0;
  /** Null until the first range is worth it. */
  #workers: readonly Thread[] | null = null;

  constructor(memory: WasmMemory, threads: number) {
    this.#memory = memory;
    this.threads = threads;
    this.#ring = new Ring(threads);
  }

  /** Workers that have started and take part. */
  get running(): number {
    return this.#workers?.length ? Atomics.load(this.#ring.control.words, word.ready) : 0;
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

  /** Whether no command is under way. */
  get isIdle(): boolean {
    return this.#ring.isIdle;
  }

  /**
   * Does the items 0 to before `items`: now where there is no other thread, and else on all threads, before ranges that
   * are run later and touch the same memory, and before `settle` returns.
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
    this.#ring.post(known.id, range, command);
    try {
      this.#ring.keepPace(mostOpen);
    } finally {
      this.#checkFailures();
    }
  }

  /**
   * Returns when everything that was run is done.
   *
   * @throws what a range function threw on this thread, or an Error that names the function for what it threw on
   *   another; always after every thread has let go of all ranges
   */
  settle(): void {
    if (this.isIdle) return;
    try {
      this.#ring.drain();
    } finally {
      this.#checkFailures();
    }
  }

  /** Ends the workers, once everything is done; from then on the main thread does everything. */
  async close(): Promise<void> {
    this.settle();
    const threads = this.#workers ?? [];
    this.#workers = [];
    await Promise.all(threads.map(({ worker }) => worker.terminate()));
  }

  #checkFailures(): void {
    if (Atomics.load(this.#ring.control.words, word.failures) === 0) return;
    this.#ring.drain();
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
    Atomics.store(this.#ring.control.words, word.failures, 0);
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
      this.#workers = startThreads(this.threads - 1, this.#ring.control, this.#memory);
      endWithPool(this, this.#workers);
    } catch (cause) {
      this.#workers = [];
      warnOfLoss(cause);
    }
    return this.#workers;
  }
}
