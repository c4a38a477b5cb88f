/** Starts and ends the worker threads of a pool. */
import type { MessagePort, Worker } from "node:worker_threads";
import { warnOnce } from "../../warnOnce.ts";
import type { WasmMemory } from "../encoder/index.ts";
import type { Control } from "./control.ts";
import { type FailureMessage, workerSource } from "./workerSource.ts";

/** How long a worker watches for the next command before it sleeps. */
const workerSpinMilliseconds = 0.5;

export interface Thread {
  readonly worker: Worker;
  readonly port: MessagePort;
  /** The oldest failure it reported that was not received yet. */
  readonly received: () => FailureMessage | undefined;
}

const abandoned = new FinalizationRegistry<readonly Thread[]>((threads) => {
  for (const { worker } of threads) void worker.terminate();
});

/** Ends the workers of a pool that nobody can use any more: they would keep its memory. */
export function endWithPool(pool: object, threads: readonly Thread[]): void {
  abandoned.register(pool, threads);
}

/**
 * Starts so many workers, or throws where there can be none. Knows nothing of the pool, which the threads would
 * otherwise keep from the garbage collector.
 */
export function startThreads(count: number, control: Control, memory: WasmMemory): readonly Thread[] {
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

/** Says once why there are no workers. */
export function warnOfLoss(cause: unknown): void {
  const reason = cause instanceof Error ? cause.message : cause;
  warnOnce(
    `no worker threads (${reason}), the CPU backend computes on the main thread alone; ` +
      "use Node 20.16 or newer, or set GRADWEAVE_THREADS=1 to say that one thread is meant",
  );
}
