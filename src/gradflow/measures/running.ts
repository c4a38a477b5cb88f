/** Mean and variance of a figure over training steps or seeds, without keeping its values. */
import { studentT95 } from "./studentT.ts";

/** What is known of a figure's values so far. */
export interface Summary {
  /** Values that were numbers. */
  readonly count: number;
  /** Values that were null: not measured, or without an answer. */
  readonly missing: number;
  readonly mean: number | null;
  /** Of one value, unbiased; null below two. */
  readonly variance: number | null;
  /** 95 % interval of the mean by Student's t, for independent values; null below two. */
  readonly interval: readonly [low: number, high: number] | null;
}

/**
 * Streaming mean and variance (Welford 1962), exact to rounding where the sum of squares would cancel. `merge` joins two
 * streams (Chan, Golub & LeVeque 1979).
 */
export class RunningStatistics {
  #count = 0;
  #missing = 0;
  #mean = 0;
  /** Σ (value − mean)². */
  #squares = 0;

  /** Adds a value; null counts as missing. Throws for NaN and infinity, which would spoil every later figure. */
  add(value: number | null): void {
    if (value === null) {
      this.#missing += 1;
      return;
    }
    if (!Number.isFinite(value))
      throw new Error(
        `RunningStatistics: ${value} has no place in a mean; give null where nothing was measured`,
      );
    this.#count += 1;
    const before = value - this.#mean;
    this.#mean += before / this.#count;
    this.#squares += before * (value - this.#mean);
  }

  /** Adds all values that `other` was given. */
  merge(other: RunningStatistics): void {
    const count = this.#count + other.#count;
    this.#missing += other.#missing;
    if (other.#count === 0) return;
    const apart = other.#mean - this.#mean;
    this.#squares += other.#squares + (apart * apart * this.#count * other.#count) / count;
    this.#mean += (apart * other.#count) / count;
    this.#count = count;
  }

  summary(): Summary {
    const [count, missing, mean] = [this.#count, this.#missing, this.#mean];
    if (count < 2) return { count, missing, mean: count === 1 ? mean : null, variance: null, interval: null };
    const variance = this.#squares / (count - 1);
    const half = studentT95(count - 1) * Math.sqrt(variance / count);
    return { count, missing, mean, variance, interval: [mean - half, mean + half] };
  }
}

/** The summary of values that are all at hand. */
export function summarize(values: Iterable<number | null>): Summary {
  const statistics = new RunningStatistics();
  for (const value of values) statistics.add(value);
  return statistics.summary();
}
