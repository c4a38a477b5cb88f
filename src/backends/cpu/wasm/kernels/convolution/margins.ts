/** Where the pixels of a padded row lie, and which of its margins are shared with the next row. */
import type { GatherAxis, GatherSizes } from "./gatherSizes.ts";

/** A row of one phase: margin before, pixels, which pixel is the first, margin after. */
interface Stretch {
  readonly lead: number;
  readonly count: number;
  readonly first: number;
  readonly rest: number;
}

/** Phase by phase. */
export function stretches({ extent, stride, before, length }: GatherAxis): Stretch[] {
  return Array.from({ length: stride }, (_, phase) => {
    const lead = Math.min(length, Math.max(0, Math.ceil((before - phase) / stride)));
    const first = lead * stride + phase - before;
    const count = Math.max(0, Math.min(length - lead, Math.ceil((extent - first) / stride)));
    return { lead, count, first, rest: length - lead - count };
  });
}

/**
 * Zeros between stretches of pixels that are the margin after one and before the next: a row of 14 with a margin of 1
 * on each side takes 15 positions, not 16, where it is walked in place. Outputs themselves are never shared.
 */
function sharedMargin(axis: GatherAxis): number {
  return Math.min(axis.reach, ...stretches(axis).map(({ lead, rest }) => Math.min(lead, rest)));
}

/** Positions from the beginning of a row, or of an image, to that of the next, where they are walked in place. */
export function pitchesOf({ vertical, horizontal }: GatherSizes): {
  readonly row: number;
  readonly rows: number;
} {
  return {
    row: horizontal.length - sharedMargin(horizontal),
    rows:
      vertical.outputs +
      vertical.reach -
      sharedMargin({ ...vertical, length: vertical.outputs + vertical.reach }),
  };
}

/**
 * The phase that the even pixels are in, if both phases of a stride of two can be taken apart at once (splitRows.ts):
 * all pixels are read, and margins are not wider than a vector. Else -1.
 */
export function evenPhaseOf(axis: GatherAxis): number {
  const phases = stretches(axis);
  const even = phases.findIndex(({ first }) => first === 0);
  const isPair = axis.stride === 2 && even >= 0 && phases[1 - even].first === 1;
  const isWhole = phases.reduce((sum, { count }) => sum + count, 0) === axis.extent;
  const isThin = phases.every(({ lead, rest }) => lead <= 4 && rest <= 4);
  return isPair && isWhole && isThin ? even : -1;
}
