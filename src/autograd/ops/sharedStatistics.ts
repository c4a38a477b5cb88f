/**
 * A feature map's statistics computed once and shared by every layer that reads it. Layer k of a dense block reads the
 * maps of all k layers before it, so computing them anew would read each map up to k times; yet a channel's mean and
 * variance never change once it is written.
 */
import { Tensor } from "../../tensor/tensor.ts";
import { allocate } from "../defineOp.ts";
import { noGrad } from "../mode.ts";
import { hasOpListeners } from "../observers.ts";
import { batchStatistics, writeBatchStatistics } from "./batchStatistics.ts";
import { type Growth, growthOf } from "./concat.ts";

/** Statistics, and how often they and what they describe had been written by then. */
interface Known {
  readonly statistics: Tensor;
  readonly version: number;
  readonly describedVersion: number;
}

const knownStatistics = new WeakMap<Growth, Known>();

/** Still in memory, which a scope may have freed, and still true of what `growth` holds. */
function isCurrent({ statistics, version, describedVersion }: Known, { part }: Growth): boolean {
  const [own, described] = [statistics.storage, part.storage];
  if (own.freed || described.freed) return false;
  return own.version === version && described.version === describedVersion;
}

function statisticsOf(growth: Growth): Tensor {
  const known = knownStatistics.get(growth);
  if (known && isCurrent(known, growth)) return known.statistics;
  const { before, capacity, part } = growth;
  const earlier = before && statisticsOf(before);
  const width = earlier?.shape[1] ?? 0;
  // Room for the channels to come, as the feature maps themselves have.
  const storage = earlier?.storage ?? allocate(part.backend, part.dtype, [2, capacity]).storage;
  const view = (from: number, to: number) => new Tensor(storage, [2, to - from], [capacity, 1], from);
  const end = width + part.shape[1];
  writeBatchStatistics(part, view(width, end));
  const statistics = view(0, end);
  const { version } = statistics.storage;
  knownStatistics.set(growth, { statistics, version, describedVersion: part.storage.version });
  return statistics;
}

/**
 * [mean, biased variance] of every channel of `x` `[N, C, H, W]`, as `[2, C]`, with the bits of `batchStatistics(x)`
 * but never on the tape. Where `x` is a view of a `GrowingConcat`, only channels that no layer asked for yet are
 * read, and the result may belong to other layers too: do not change it. A listener on ops sees the statistics of
 * all of `x` computed, as the definition says.
 */
export function sharedStatistics(x: Tensor): Tensor {
  const growth = hasOpListeners() ? null : growthOf(x);
  return noGrad(() => (growth ? statisticsOf(growth) : batchStatistics(x)));
}
