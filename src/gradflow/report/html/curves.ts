/**
 * Curves as they are drawn: the mean over a network's seeds with a band from the lowest to the highest, smoothed
 * where there are many steps, and thinned to what a chart can show. Tables and files keep every number.
 */

import { mean } from "../derive.ts";
import type { ReportStageSample, ReportVariant } from "../schema.ts";
import type { ChartPoint } from "./lineChart.ts";

/** From this many points on, a curve is drawn as a moving mean. */
const smoothFrom = 60;
/** As many points as a chart of this width can tell apart. */
const mostPoints = 200;

/** One run's numbers over the steps. */
export interface Run {
  readonly steps: readonly number[];
  readonly values: readonly (number | null)[];
}

/** Points in the moving mean, an odd number; 1 leaves the curve as it is. */
export function smoothingWindow(points: number): number {
  return points < smoothFrom ? 1 : 2 * Math.round(points / 50) + 1;
}

/** The mean of the runs at every step, each smoothed before, with the lowest and the highest of them. */
export function overRuns(runs: readonly Run[], most: number = mostPoints): ChartPoint[] {
  const smooth = runs.map(smoothed);
  const at = new Map<number, (number | null)[]>();
  for (const { steps, values } of smooth)
    for (const [i, step] of steps.entries()) at.set(step, [...(at.get(step) ?? []), values[i] ?? null]);
  const points = [...at]
    .sort(([a], [b]) => a - b)
    .map(([x, values]): ChartPoint => {
      const present = values.filter((value) => value !== null);
      if (runs.length < 2 || present.length === 0) return { x, y: mean(present) };
      return { x, y: mean(present), low: Math.min(...present), high: Math.max(...present) };
    });
  return thinned(points, most);
}

/** At most `most` points, evenly spaced, the first and the last among them. */
export function thinned<Item>(items: readonly Item[], most: number = mostPoints): Item[] {
  if (items.length <= most) return [...items];
  const last = items.length - 1;
  return Array.from({ length: most }, (_, i) => items[Math.round((i * last) / (most - 1))]);
}

/** Moving means by running sums: a window's mean does not cost its length. */
function smoothed({ steps, values }: Run): Run {
  const half = (smoothingWindow(values.length) - 1) / 2;
  if (half === 0) return { steps, values };
  const sums = [0];
  const counts = [0];
  for (const [i, value] of values.entries()) {
    sums.push(sums[i] + (value ?? 0));
    counts.push(counts[i] + (value === null ? 0 : 1));
  }
  const means = values.map((_, i) => {
    const [from, to] = [Math.max(0, i - half), Math.min(values.length, i + half + 1)];
    const count = counts[to] - counts[from];
    return count === 0 ? null : (sums[to] - sums[from]) / count;
  });
  return { steps, values: means };
}

/** The training curves of every seed; of the one run where there are no seeds. */
export function curvesOfRuns({ seeds, curves }: ReportVariant): ReportVariant["curves"][] {
  return seeds?.map((run) => run.curves) ?? [curves];
}

/** A stage's samples of every seed, or of the one run. */
export function samplesOfRuns(variant: ReportVariant, stage: string): (readonly ReportStageSample[])[] {
  const runs = variant.seeds ?? [variant];
  return runs.map(({ stages }) => stages.find(({ name }) => name === stage)?.samples ?? []);
}
