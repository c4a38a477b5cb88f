/**
 * Random sizes that shrink. What an op's `draw` asks for (an integer, a shape, a pick) is answered from a short list
 * of numbers that fast-check draws: fast-check shrinks the list, and so the sample, and replays it from a seed.
 */
import fc from "fast-check";
import type { SampleSource } from "../autograd/defineOp.ts";

/** Numbers from 0 to `largestChoice` that answer the questions of a `SampleSource` one after the other. */
export type Choices = readonly number[];

const largestChoice = 0xffff;

/** Enough for every op; further questions are answered with their smallest answer. */
const choiceCount = 40;

/** Draws choices. All 0, to which they shrink, stands for the smallest sample. */
export function choices(): fc.Arbitrary<Choices> {
  return fc.array(fc.nat(largestChoice), { minLength: choiceCount, maxLength: choiceCount });
}

/** Answers from `list`, in order. The same list gives the same answers; smaller numbers give smaller ones. */
export function sampleSource(list: Choices): SampleSource {
  let next = 0;
  const integer = (low: number, high: number): number => {
    const choice = list[next++] ?? 0;
    return low + Math.floor((choice / (largestChoice + 1)) * (high - low + 1));
  };
  return {
    integer,
    pick: (values) => values[integer(0, values.length - 1)],
    boolean: () => integer(0, 1) === 1,
    shape: (minRank, maxRank) => Array.from({ length: integer(minRank, maxRank) }, () => integer(1, 5)),
  };
}
