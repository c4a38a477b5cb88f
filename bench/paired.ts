/** Paired timing: two functions run alternately, so that whatever else the machine does hits both alike. */

export interface PairedResult {
  /** Median milliseconds of one run. */
  readonly first: number;
  readonly second: number;
  /** Median over pairs of second / first, and the middle half of those ratios. */
  readonly ratio: number;
  readonly spread: readonly [low: number, high: number];
  readonly pairs: number;
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

/** How long one run takes. */
export function milliseconds(run: () => void): number {
  const start = performance.now();
  run();
  return performance.now() - start;
}

/** Of `[first, second]` milliseconds of each pair. */
export function summarise(times: readonly (readonly [first: number, second: number])[]): PairedResult {
  const ratios = times.map(([a, b]) => b / a);
  return {
    first: quantile(
      times.map(([a]) => a),
      0.5,
    ),
    second: quantile(
      times.map(([, b]) => b),
      0.5,
    ),
    ratio: quantile(ratios, 0.5),
    spread: [quantile(ratios, 0.25), quantile(ratios, 0.75)],
    pairs: times.length,
  };
}

/** Runs both in turn, the order swapped every time, after `warmUp` unmeasured pairs. */
export function paired(first: () => void, second: () => void, pairs: number, warmUp = 10): PairedResult {
  const times: [number, number][] = [];
  for (let i = -warmUp; i < pairs; i++) {
    const swapped = i % 2 === 0;
    const a = milliseconds(swapped ? second : first);
    const b = milliseconds(swapped ? first : second);
    if (i >= 0) times.push(swapped ? [b, a] : [a, b]);
  }
  return summarise(times);
}
