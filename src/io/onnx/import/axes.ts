/** Axes of an operator's node, wherever its opset has them. */
import type { NodeInputs, NodeReader } from "./node.ts";

/** Axes counted from the front. */
export const axesOf = (node: NodeReader, axes: readonly number[], rank: number): number[] =>
  axes.map((axis) => node.axis(axis, rank));

/** Axes, or other integers, that old operators have as an attribute and new ones as an input. */
export function listOf(
  node: NodeReader,
  name: string,
  since: number,
  input: number,
): (inputs: NodeInputs) => readonly number[] | null {
  if (node.opset >= since) return (inputs) => inputs.optionalNumbers(input);
  const fixed = node.integers(name);
  return () => fixed;
}
