/** Ctrl-C and termination: the first signal asks for a clean end, the second one ends at once. */

const signals = { SIGINT: 130, SIGTERM: 143 } as const;
export type InterruptSignal = keyof typeof signals;

/** What is listened to and ended: the process, or a stand-in in tests. */
export interface InterruptTarget {
  on(event: InterruptSignal, listener: () => void): unknown;
  off(event: InterruptSignal, listener: () => void): unknown;
  exit(code: number): void;
}

/**
 * One Ctrl-C reaches a process several times: from the terminal, and from each of npx and tsx, which pass it on.
 * What comes within this many milliseconds is taken for the same one.
 */
const sameKeyPress = 500;

/**
 * Listens to SIGINT and SIGTERM. The first aborts `signal`, upon which the program should finish what it does and end
 * with `exitCode`; another one, half a second later or more, ends the process without waiting.
 *
 *     using interrupt = new Interrupt();
 *     if (interrupt.signal.aborted) process.exitCode = interrupt.exitCode;
 */
export class Interrupt implements Disposable {
  readonly #controller = new AbortController();
  readonly #target: InterruptTarget;
  readonly #listeners: [InterruptSignal, () => void][];
  readonly #onFirst: ((name: InterruptSignal) => void) | undefined;
  #received: InterruptSignal | null = null;
  #nextOneCounts = false;

  /** `onFirst` is called at the first signal, to say that the program is about to end. */
  constructor(onFirst?: (name: InterruptSignal) => void, target: InterruptTarget = process) {
    this.#onFirst = onFirst;
    this.#target = target;
    this.#listeners = (["SIGINT", "SIGTERM"] as const).map((name) => [name, () => this.#receive(name)]);
    for (const [name, listener] of this.#listeners) target.on(name, listener);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The signal that came first, or null. */
  get received(): InterruptSignal | null {
    return this.#received;
  }

  /** 128 plus the signal's number, as shells expect; 0 when none came. */
  get exitCode(): number {
    return this.#received ? signals[this.#received] : 0;
  }

  /** Stops listening: a signal then ends the process as it always does. */
  [Symbol.dispose](): void {
    for (const [name, listener] of this.#listeners) this.#target.off(name, listener);
  }

  #receive(name: InterruptSignal): void {
    if (this.#received) {
      if (this.#nextOneCounts) this.#target.exit(signals[name]);
      return;
    }
    this.#received = name;
    // Signals that queued up behind a long computation are delivered after the timers that fell due meanwhile, but
    // before an immediate, and the end of another process (ownProcess.ts) in an immediate: so a repetition is known as
    // one even when the computation took longer than the pause.
    const count = () => setImmediate(() => setImmediate(() => (this.#nextOneCounts = true)));
    const wait = setTimeout(count, sameKeyPress);
    wait.unref();
    this.#onFirst?.(name);
    this.#controller.abort();
  }
}
