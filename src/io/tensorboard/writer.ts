/** Event files that grow while a network trains, as TensorBoard follows them. */
import { type FileHandle, mkdir, open } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { encodeEvents, eventFileHeader, type TensorBoardEvent } from "./events.ts";

/** An event file's name: TensorBoard takes any that holds "tfevents". */
export function eventFileName(wallTime: number): string {
  return `events.out.tfevents.${Math.floor(wallTime)}.${hostname()}.${process.pid}`;
}

const now = (): number => Date.now() / 1000;

/**
 * Writes scalars and histograms for TensorBoard. One folder is one run; folders beside each other are compared.
 *
 *     await using events = await EventWriter.open("runs/densenet");
 *     events.scalar("loss/train", step, loss);
 *     await events.flush();                          // tensorboard --logdir runs
 */
export class EventWriter implements AsyncDisposable {
  readonly path: string;
  readonly #file: FileHandle;
  #waiting: TensorBoardEvent[] = [];

  private constructor(path: string, file: FileHandle) {
    this.path = path;
    this.#file = file;
  }

  /** Begins a new file in `folder`, which is made if need be. Throws the file system's error. */
  static async open(folder: string): Promise<EventWriter> {
    await mkdir(folder, { recursive: true });
    const time = now();
    const path = join(folder, eventFileName(time));
    const file = await open(path, "wx");
    await file.appendFile(eventFileHeader(time));
    return new EventWriter(path, file);
  }

  /** A number at a step. */
  scalar(tag: string, step: number, value: number): void {
    this.#waiting.push({ tag, step, wallTime: now(), scalar: value });
  }

  /** A distribution at a step, in 30 bins between its smallest and largest value. */
  histogram(tag: string, step: number, values: ArrayLike<number>): void {
    this.#waiting.push({ tag, step, wallTime: now(), histogram: Array.from(values) });
  }

  /** Writes what was added since the last call. Throws like `encodeEvents`; then none of it is written. */
  async flush(): Promise<void> {
    const events = this.#waiting;
    this.#waiting = [];
    if (events.length > 0) await this.#file.appendFile(encodeEvents(events));
  }

  /** Writes what is left and closes the file. */
  async close(): Promise<void> {
    try {
      await this.flush();
    } finally {
      await this.#file.close();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
