/**
 * Progress of a training run for people: on a terminal a few lines that are redrawn in place, elsewhere (a pipe, a
 * log file, CI) a plain line every ten seconds and at the start of every epoch.
 */
import { styleText } from "node:util";
import type { StepRecord } from "./trainingRun.ts";

/** What progress is written to; `process.stderr` is one. */
export interface ProgressStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  /** Width of the terminal; some say 0 for unknown. */
  readonly columns?: number;
}

export interface ProgressOptions {
  readonly stream: ProgressStream;
  /** Trained images of all networks in all epochs. */
  readonly trainImages: number;
  /** Evaluated images of all networks. */
  readonly testImages: number;
  /** Default: the process's. CI and TERM=dumb refuse redrawing, NO_COLOR refuses colour. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Milliseconds; default `performance.now`. */
  readonly now?: () => number;
}

interface NetworkState {
  readonly name: string;
  steps: number;
  /** Moving averages, see `smooth`. */
  loss: number;
  accuracy: number;
  millisecondsPerImage: number;
  /** Test images evaluated, and how many there are. */
  tested: number;
  toTest: number;
}

const redrawInterval = 100;
const plainInterval = 10_000;
/** The moving averages follow about the last 1 / (1 - decay) steps. */
const decay = 0.95;
/** Training an image costs a forward pass and two of its size for the gradients; evaluating it the forward pass. */
const trainWork = 3;
const barWidth = 24;

/** A moving average; early on the plain average, so that it does not start from an arbitrary value. */
function smooth(average: number, value: number, count: number): number {
  const weight = Math.max(1 - decay, 1 / count);
  return average + weight * (value - average);
}

export class Progress {
  readonly #stream: ProgressStream;
  readonly #now: () => number;
  readonly #redraws: boolean;
  readonly #color: boolean;
  readonly #totalWork: number;
  readonly #networks = new Map<string, NetworkState>();
  #title = "";
  #work = 0;
  /** Time and work done at the end of the first step: warming up says nothing about what follows. */
  #start: { readonly time: number; readonly work: number } | null = null;
  #lastOutput = Number.NEGATIVE_INFINITY;
  #linesOnScreen = 0;

  constructor({ stream, trainImages, testImages, env = process.env, now }: ProgressOptions) {
    this.#stream = stream;
    this.#now = now ?? (() => performance.now());
    const ci = env.CI !== undefined && env.CI !== "" && env.CI !== "false";
    this.#redraws = stream.isTTY === true && !ci && env.TERM !== "dumb";
    this.#color = this.#redraws && !env.NO_COLOR;
    this.#totalWork = trainWork * trainImages + testImages;
  }

  /** One training step of a network is done. `title` says where the run is: "epoch 1/2". */
  trained(name: string, { loss, accuracy, milliseconds, images }: StepRecord, title: string): void {
    const network = this.#network(name);
    network.steps += 1;
    network.loss = smooth(network.loss, loss, network.steps);
    network.accuracy = smooth(network.accuracy, accuracy, network.steps);
    network.millisecondsPerImage = smooth(network.millisecondsPerImage, milliseconds / images, network.steps);
    this.#advance(trainWork * images, title);
  }

  /** `done` of `total` test images of a network are evaluated. */
  evaluated(name: string, done: number, total: number): void {
    const network = this.#network(name);
    const before = network.tested;
    network.tested = done;
    network.toTest = total;
    this.#advance(done - before, "testing");
  }

  /** Writes a line of text above the progress. */
  note(text: string): void {
    this.#erase();
    this.#stream.write(`${text}\n`);
    if (this.#networks.size > 0 && this.#redraws) this.#draw();
  }

  /** Draws the last state; what is written afterwards starts on a line of its own. */
  finish(): void {
    if (this.#networks.size === 0) return;
    this.#draw();
    if (this.#redraws) this.#stream.write("\n");
    this.#linesOnScreen = 0;
    this.#networks.clear();
  }

  #network(name: string): NetworkState {
    const known = this.#networks.get(name);
    if (known) return known;
    const fresh = { name, steps: 0, loss: 0, accuracy: 0, millisecondsPerImage: 0, tested: 0, toTest: 0 };
    this.#networks.set(name, fresh);
    return fresh;
  }

  #advance(work: number, title: string): void {
    this.#work += work;
    const entersPart = title !== this.#title;
    this.#title = title;
    this.#start ??= { time: this.#now(), work: this.#work };
    const waited = this.#now() - this.#lastOutput;
    if (waited >= (this.#redraws ? redrawInterval : plainInterval) || entersPart) this.#draw();
  }

  #draw(): void {
    this.#lastOutput = this.#now();
    if (!this.#redraws) {
      const networks = [...this.#networks.values()].map((network) => `${network.name} ${describe(network)}`);
      this.#stream.write(
        `${[`${this.#title}, ${this.#percent()} %`, ...networks, this.#timeLeft()].join(" | ")}\n`,
      );
      return;
    }
    this.#erase();
    const width = (this.#stream.columns || 80) - 1;
    const nameWidth = Math.max(...[...this.#networks.keys()].map((name) => name.length));
    const done = Math.round((barWidth * this.#work) / this.#totalWork);
    const bar = `${"#".repeat(Math.min(done, barWidth))}${"-".repeat(Math.max(barWidth - done, 0))}`;
    const lines = [
      `${this.#title.padEnd(10)} ${bar} ${this.#percent()} %  ${this.#timeLeft()}`,
      ...[...this.#networks.values()].map(
        (network) => `  ${network.name.padEnd(nameWidth)}  ${describe(network)}`,
      ),
    ].map((line) => line.slice(0, width));
    this.#linesOnScreen = lines.length;
    this.#stream.write(lines.map((line) => this.#paint(line)).join("\n"));
  }

  /** Colours the done part of the bar. */
  #paint(line: string): string {
    if (!this.#color) return line;
    return line.replace(/#+/, (done) => styleText("green", done, { validateStream: false }));
  }

  /** Takes the lines off the screen and puts the cursor where they began. */
  #erase(): void {
    if (this.#linesOnScreen === 0) return;
    const up = this.#linesOnScreen > 1 ? `\x1b[${this.#linesOnScreen - 1}A` : "";
    this.#stream.write(`\r${up}\x1b[J`);
    this.#linesOnScreen = 0;
  }

  #percent(): number {
    return Math.floor(Math.min(100, (100 * this.#work) / this.#totalWork));
  }

  #timeLeft(): string {
    if (!this.#start || this.#work === this.#start.work) return "time left unknown";
    const perWork = (this.#now() - this.#start.time) / (this.#work - this.#start.work);
    const left = Math.max(0, this.#totalWork - this.#work);
    return `${formatDuration((perWork * left) / 1000)} left`;
  }
}

/** `loss 0.1032, accuracy 97.1 %, 212 images/s`, and how much is tested. */
function describe({ steps, loss, accuracy, millisecondsPerImage, tested, toTest }: NetworkState): string {
  const parts: string[] = [];
  if (steps > 0)
    parts.push(
      `loss ${loss.toFixed(4)}`,
      `accuracy ${(100 * accuracy).toFixed(1)} %`,
      `${Math.round(1000 / millisecondsPerImage)} images/s`,
    );
  if (toTest > 0) parts.push(`tested ${tested}/${toTest}`);
  return parts.join(", ");
}

/** `9 s`, `2 min 05 s`, `1 h 03 min` */
export function formatDuration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const two = (value: number): string => String(value).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}
