/** What the ops of a graph do with channels, axis 1 of [N, C, …]. */
import type { GraphNode } from "../graph/index.ts";

/** True for a concatenation along the channels. */
export function isChannelConcat({ op, attributes }: GraphNode): boolean {
  return op === "concat" && "axis" in attributes && attributes.axis === 1;
}

/** The channels that a slice keeps, first and one past the last; null when it has no channel axis. */
export function channelRange({ attributes }: GraphNode): [number, number] | null {
  if (!("ranges" in attributes) || !Array.isArray(attributes.ranges)) return null;
  const range: unknown = attributes.ranges[1];
  return Array.isArray(range) && typeof range[0] === "number" && typeof range[1] === "number"
    ? [range[0], range[1]]
    : null;
}
