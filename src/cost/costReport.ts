/** Several networks' costs side by side, as data: what the page, the terminal table and the JSON of a run show. */
import {
  type Bottleneck,
  type BottleneckComparison,
  bottlenecks,
  type CostProfile,
  compareBottlenecks,
  type NamedCost,
} from "../graph/index.ts";
import type { CountedLayer, CountedNetwork } from "./counted.ts";

/** A network with what its layers look like as a whole, in operations and in memory traffic. */
export interface ProfiledNetwork extends CountedNetwork {
  readonly flopsProfile: CostProfile;
  readonly trafficProfile: CostProfile;
}

/** What a network's costs are beside the first one's. */
export interface NetworkComparison extends Omit<BottleneckComparison, "before" | "after"> {
  readonly from: string;
  readonly to: string;
  /** Of the CIO with pools. */
  readonly trafficChange: number;
}

export interface CostReport {
  readonly networks: readonly ProfiledNetwork[];
  /** Every network but the first against the first. */
  readonly comparisons: readonly NetworkComparison[];
}

const named = (layers: readonly CountedLayer[], of: (layer: CountedLayer) => number): NamedCost[] =>
  layers.map((layer) => ({ name: layer.name, cost: of(layer) }));

/** Profiles networks and compares them with the first. Throws when there is none, or the first costs nothing. */
export function costReport(counted: readonly CountedNetwork[]): CostReport {
  const [first, ...others] = counted;
  if (!first) throw new Error("costReport: the list of networks is empty; give at least one");
  const flops = ({ layers }: CountedNetwork) => named(layers, (layer) => layer.flops);
  const traffic = ({ layers }: CountedNetwork) => named(layers, (layer) => layer.inputOutput);
  return {
    networks: counted.map((network) => ({
      ...network,
      flopsProfile: bottlenecks(flops(network)),
      trafficProfile: bottlenecks(traffic(network)),
    })),
    comparisons: others.map((network) => {
      const { totalChange, largestChange } = compareBottlenecks(flops(first), flops(network));
      const trafficChange = network.inputOutput / first.inputOutput - 1;
      return { from: first.name, to: network.name, totalChange, largestChange, trafficChange };
    }),
  };
}

/** "12.3 % less", "4.0 % more", "as much". */
function changed(change: number): string {
  if (Math.abs(change) < 0.0005) return "as much";
  return `${(100 * Math.abs(change)).toFixed(1)}\u00a0% ${change < 0 ? "less" : "more"}`;
}

/** What a comparison comes to, in a sentence. */
export function comparisonSentence(comparison: NetworkComparison): string {
  const { from, to, totalChange, largestChange, trafficChange } = comparison;
  return (
    `${to} against ${from}: its largest layer costs ${changed(largestChange)}, the whole network ` +
    `${changed(totalChange)}, and its layers move ${changed(trafficChange)}.`
  );
}

/** Operations in billions, three decimals. */
export const billions = (flops: number): string => (flops / 1e9).toFixed(3);

/** Elements or weights in millions. */
export const millions = (count: number, digits = 2): string => (count / 1e6).toFixed(digits);

/** Such as "layer2.0.conv1: 0.236 BFLOPs, 11 times the mean layer". */
export function bottleneckText({ name, cost, timesMean }: Bottleneck): string {
  return `${name}: ${billions(cost)} BFLOPs, ${timesMean.toFixed(1)} times the mean layer`;
}
