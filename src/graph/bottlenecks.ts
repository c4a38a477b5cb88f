/**
 * The layers whose cost sticks out, and how two networks compare in that (CSPNet paper, section 4.5 and figure 7).
 * Hardware is built for the largest layer: the more alike the layers' costs, the better it is used.
 *
 * Works on any list of named costs, whether counted on a graph or read off a configuration.
 */
import type { Cost } from "./cost.ts";
import { type CountingRule, layerFlops } from "./countingRules.ts";

/** A layer's cost: operations, elements moved, bytes; the unit is the caller's. */
export interface NamedCost {
  readonly name: string;
  readonly cost: number;
}

/** A layer that sticks out. */
export interface Bottleneck extends NamedCost {
  /** Its place in the list. */
  readonly position: number;
  /** Its share of the whole network's cost. */
  readonly share: number;
  /** How many times the mean layer it costs. */
  readonly timesMean: number;
}

/** What the layers' costs look like as a whole. */
export interface CostProfile {
  /** Layers that cost anything. */
  readonly layers: number;
  readonly total: number;
  /** Of the layers that cost anything. */
  readonly mean: number;
  /** null for a network that costs nothing. */
  readonly largest: Bottleneck | null;
  /** Mean over largest, in (0, 1]: 1 when all layers cost the same. */
  readonly balance: number;
  /** The layers that stick out, the most expensive first; layers of equal cost in their order. */
  readonly bottlenecks: readonly Bottleneck[];
}

export interface BottleneckOptions {
  /** A layer sticks out when it costs more than this many times the mean layer. Default 5. */
  readonly timesMean?: number;
}

/** The operations of every layer that has any, by module path; a path that runs several times appears so often. */
export function namedCosts({ layers }: Pick<Cost, "layers">, rule: CountingRule = "darknet"): NamedCost[] {
  return layers
    .map((layer) => ({ name: layer.modulePath || layer.op, cost: layerFlops(layer, rule) }))
    .filter(({ cost }) => cost > 0);
}

/**
 * Finds the layers whose cost sticks out. Layers without cost are passed over. Throws when a cost is negative or not
 * a number, or `timesMean` is not positive.
 */
export function bottlenecks(
  layers: readonly NamedCost[],
  { timesMean = 5 }: BottleneckOptions = {},
): CostProfile {
  if (!(timesMean > 0)) throw new Error(`bottlenecks: timesMean ${timesMean} must be positive`);
  for (const { name, cost } of layers)
    if (!(cost >= 0 && cost < Infinity))
      throw new Error(`bottlenecks: layer ${name} costs ${cost}; costs must be numbers from 0 up`);
  const counted = layers.flatMap((layer, position) => (layer.cost > 0 ? [{ ...layer, position }] : []));
  const total = counted.reduce((sum, { cost }) => sum + cost, 0);
  const mean = counted.length > 0 ? total / counted.length : 0;
  const ordered = counted
    .sort((a, b) => b.cost - a.cost || a.position - b.position)
    .map((layer) => ({ ...layer, share: layer.cost / total, timesMean: layer.cost / mean }));
  const [largest = null] = ordered;
  return {
    layers: counted.length,
    total,
    mean,
    largest,
    balance: largest ? mean / largest.cost : 1,
    bottlenecks: ordered.filter((layer) => layer.timesMean > timesMean),
  };
}

/** What a change of the network did to its costs; changes are shares of the first network's: -0.44 is 44 % less. */
export interface BottleneckComparison {
  readonly before: CostProfile;
  readonly after: CostProfile;
  readonly totalChange: number;
  readonly largestChange: number;
}

/**
 * Compares two networks' costs, a network and its cross-stage-partial form say. Throws when the first costs nothing.
 */
export function compareBottlenecks(
  before: readonly NamedCost[],
  after: readonly NamedCost[],
  options: BottleneckOptions = {},
): BottleneckComparison {
  const [first, second] = [bottlenecks(before, options), bottlenecks(after, options)];
  if (!first.largest) throw new Error("compareBottlenecks: no layer of the first network costs anything");
  return {
    before: first,
    after: second,
    totalChange: second.total / first.total - 1,
    largestChange: (second.largest?.cost ?? 0) / first.largest.cost - 1,
  };
}
