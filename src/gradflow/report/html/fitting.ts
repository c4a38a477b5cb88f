/**
 * A page stays small enough to be mailed and opened at once: of a run with too many samples for that it holds every second,
 * fourth, … sampled and recorded step, and says so. The JSON file has them all.
 */

import type { GradientReuseReport, ReportVariant } from "../schema.ts";
import { packedSize } from "./parts.ts";

/** Bytes of packed data that a page carries at most: half of its 3 MB, the other half is left for what is drawn. */
const mostBytes = 1_350_000;

export interface FittedReport {
  readonly report: GradientReuseReport;
  /** Of how many sampled and recorded steps the page holds one; 1 when it holds all. */
  readonly every: number;
}

/** The report with as many of its steps as fit into a page; the last step always. */
export function fitted(report: GradientReuseReport, most: number = mostBytes): FittedReport {
  let fit: FittedReport = { report, every: 1 };
  while (packedSize(fit.report) > most) {
    const every = fit.every * 2;
    const next = thinned(report, every);
    if (steps(next) === steps(fit.report)) break;
    fit = { report: next, every };
  }
  return fit;
}

function steps({ variants }: GradientReuseReport): number {
  const samples = variants.flatMap(({ stages }) =>
    stages.flatMap(({ measured }) => measured.map((one) => one.samples.length)),
  );
  return [...samples, ...variants.map(({ curves }) => curves.step.length)].reduce(
    (sum, count) => sum + count,
    0,
  );
}

/** Every `every`-th of a list's places, counted back from the last. */
function places(length: number, every: number): number[] {
  return Array.from({ length }, (_, i) => i).filter((i) => (length - 1 - i) % every === 0);
}

/** Keeps every `every`-th sampled and recorded step; reasons of gaps go along with their steps. */
export function thinned(report: GradientReuseReport, every: number): GradientReuseReport {
  const moved = new Map<string, readonly number[]>();
  const pick = <Item>(list: readonly Item[], path: string): Item[] => {
    const kept = places(list.length, every);
    moved.set(path, kept);
    return kept.map((i) => list[i]);
  };
  const curvesOf = (curves: ReportVariant["curves"], path: string): ReportVariant["curves"] => ({
    step: pick(curves.step, `${path}.step`),
    loss: pick(curves.loss, `${path}.loss`),
    trainAccuracy: pick(curves.trainAccuracy, `${path}.trainAccuracy`),
    evaluations: curves.evaluations,
  });
  const variants = report.variants.map(
    (variant, v): ReportVariant => ({
      ...variant,
      curves: curvesOf(variant.curves, `variants[${v}].curves`),
      stages: variant.stages.map((stage, s) => ({
        ...stage,
        measured: stage.measured.map((pieces, m) => ({
          ...pieces,
          samples: pick(pieces.samples, `variants[${v}].stages[${s}].measured[${m}].samples`),
        })),
      })),
      ...(variant.seeds
        ? {
            seeds: variant.seeds.map((run, r) => ({
              ...run,
              curves: curvesOf(run.curves, `variants[${v}].seeds[${r}].curves`),
            })),
          }
        : {}),
    }),
  );
  const gaps = report.gaps.flatMap((gap) => {
    const list = [...moved.keys()].find((path) => gap.path.startsWith(`${path}[`));
    if (list === undefined) return [gap];
    const place = Number.parseInt(gap.path.slice(list.length + 1), 10);
    const at = moved.get(list)?.indexOf(place) ?? -1;
    return at < 0 ? [] : [{ ...gap, path: `${list}[${at}]${gap.path.slice(`${list}[${place}]`.length)}` }];
  });
  return { ...report, variants, gaps };
}
