/**
 * Threads that share the memory: the main thread cuts a range of items into chunks, works on them with everyone else,
 * and goes on when the last chunk is done.
 *
 * Workers start when the first range is worth it; until they run, and wherever they cannot, the main thread does
 * everything itself. They are no reason for the process to live.
 */
import type { MessagePort, Worker } from "node:worker_threads";
import { warnOnce } from "../../warnOnce.ts";
import type { WasmMemory, WasmModule } from "../encoder/index.ts";
import {
  type Control,
  chunkBits,
  claimOf,
  createControl,
  epochMask,
  maxArguments,
  maxChunks,
  number,
  word,
} from "./control.ts";
import { type FailureMessage, type ModuleMessage, workerSource } from "./workerSource.ts";

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
/** How long a worker watches for the next command before it sleeps. */
const workerSpinMilliseconds = 0.1;
/** How long the main thread watches for the end of the last chunk before it sleeps. */
const mainSpinMilliseconds = 0.2;

interface Announced {
  readonly id: number;
  readonly name: string;
  readonly module: ModuleMessage & { announced: boolean };
}

interface Thread {
  readonly worker: Worker;
  readonly port: MessagePort;
  /** The oldest failure it reported that was not received yet. */
  readonly received: () => FailureMessage | undefined;
}

export class ThreadPool {
  /** Threads that are wanted, the main thread among them. */
  readonly threads: number;
  readonly #memory: WasmMemory;
  readonly #control = createControl();
  readonly #functions = new WeakMap<RangeCall, Announced>();
  #nextId = 0;
  #epoch = 0;
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

  /**
   * Does the items 0 to before `items`, and returns when all are done.
   *
   * @throws what the function throws on this thread, or an Error named ThreadError for what it threw on another;
   *   always after every thread has let go of the range
   */
  run(range: RangeCall, command: Command): void {
    const known = this.#functions.get(range);
    const { items, itemsPerChunk, args, scratch, scratchStride } = command;
    const chunks = Math.ceil(items / itemsPerChunk);
    const workers = this.#workers ?? this.#start();
    if (!known || this.running === 0) {
      range(0, items, scratch, ...args);
      return;
    }
    if (args.length > maxArguments)
      throw new RangeError(
        `${known.name}: ${args.length} arguments, a range function has ${maxArguments} at most`,
      );
    this.#announce(known, workers);
    const { words, numbers } = this.#control;
    words[word.functionId] = known.id;
    words[word.items] = items;
    words[word.itemsPerChunk] = itemsPerChunk;
    words[word.chunks] = chunks;
    words[word.share] = this.#share;
    words[word.argumentCount] = args.length;
    numbers[number.scratch] = scratch;
    numbers[number.scratchStride] = scratchStride;
    numbers.set(args, number.arguments);
    this.#epoch = (this.#epoch + 1) & epochMask;
    Atomics.store(words, word.done, 0);
    Atomics.store(words, word.claims, (this.#epoch << chunkBits) | chunks);
    Atomics.store(words, word.epoch, this.#epoch);
    if (Atomics.load(words, word.sleeping) > 0) Atomics.notify(words, word.epoch, chunks - 1);
    try {
      this.#work(range, command, chunks);
    } finally {
      this.#finish(chunks);
    }
    if (Atomics.load(words, word.failures) > 0) this.#throwFailure(workers);
  }

  /** Ends the workers at once; from then on the main thread does everything. */
  async close(): Promise<void> {
    const threads = this.#workers ?? [];
    this.#workers = [];
    await Promise.all(threads.map(({ worker }) => worker.terminate()));
  }

  /** Takes chunks until none is left. */
  #work(range: RangeCall, { items, itemsPerChunk, args, scratch }: Command, chunks: number): void {
    for (let left = this.#claim(); left > 0; left = this.#claim()) {
      const begin = (chunks - left) * itemsPerChunk;
      const claimed = claimOf(left, this.#share);
      try {
        range(begin, Math.min(items, begin + claimed * itemsPerChunk), scratch, ...args);
      } finally {
        Atomics.add(this.#control.words, word.done, claimed);
      }
    }
  }

  /** How many chunks were left, the claimed ones among them; 0 when none was. */
  #claim(): number {
    const { words } = this.#control;
    for (;;) {
      const claims = Atomics.load(words, word.claims);
      const left = claims & maxChunks;
      const rest = claims - claimOf(left, this.#share);
      if (left === 0 || Atomics.compareExchange(words, word.claims, claims, rest) === claims) return left;
    }
  }

  /** Waits until every chunk is done; those that nobody has claimed, after an error, are done without work. */
  #finish(chunks: number): void {
    const { words } = this.#control;
    for (let left = this.#claim(); left > 0; left = this.#claim())
      Atomics.add(words, word.done, claimOf(left, this.#share));
    if (Atomics.load(words, word.done) === chunks) return;
    const end = performance.now() + mainSpinMilliseconds;
    for (let turn = 1; turn % 64 !== 0 || performance.now() < end; turn++) {
      if (Atomics.load(words, word.done) === chunks) return;
      this.#pause();
    }
    Atomics.store(words, word.mainSleeps, 1);
    for (let done = Atomics.load(words, word.done); done < chunks; done = Atomics.load(words, word.done))
      Atomics.wait(words, word.done, done);
    Atomics.store(words, word.mainSleeps, 0);
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
      abandoned.register(this, this.#workers);
    } catch (cause) {
      this.#workers = [];
      warnOfLoss(cause);
    }
    return this.#workers;
  }
}

/** Ends the workers of a pool that nobody can use any more: they would keep its memory. */
const abandoned = new FinalizationRegistry<readonly Thread[]>((threads) => {
  for (const { worker } of threads) void worker.terminate();
});

/** Knows nothing of the pool, which the threads would otherwise keep from the garbage collector. */
function startThreads(count: number, control: Control, memory: WasmMemory): readonly Thread[] {
  if (count === 0) return [];
  if (typeof process === "undefined" || !process.getBuiltinModule)
    throw new Error("this engine has no node:worker_threads");
  const { Worker, MessageChannel, receiveMessageOnPort } = process.getBuiltinModule("node:worker_threads");
  return Array.from({ length: count }, (_, i) => {
    const { port1, port2 } = new MessageChannel();
    const worker = new Worker(workerSource, {
      eval: true,
      name: "gradweave",
      // Loaders and flags of the main program would only slow the start down, or fail.
      execArgv: [],
      env: {},
      workerData: {
        ...control,
        memory,
        port: port2,
        thread: i + 1,
        spinMilliseconds: workerSpinMilliseconds,
      },
      transferList: [port2],
    });
    worker.unref();
    port1.unref();
    worker.on("error", warnOfLoss);
    return { worker, port: port1, received: () => receiveMessageOnPort(port1)?.message };
  });
}

function warnOfLoss(cause: unknown): void {
  const reason = cause instanceof Error ? cause.message : cause;
  warnOnce(
    `no worker threads (${reason}), the CPU backend computes on the main thread alone; ` +
      "use Node 20.16 or newer, or set GRADWEAVE_THREADS=1 to say that one thread is meant",
  );
}
