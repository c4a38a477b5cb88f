/** Attributes of recorded ops, which a graph keeps as plain objects, checked where they are read. */
import type { Expression } from "../../../backends/expression.ts";
import type { GraphNode } from "../../../graph/index.ts";

/** The error for an op that cannot be exported. */
export function exportError({ op, modulePath }: GraphNode, problem: string): Error {
  return new Error(`exportOnnx: ${op}${modulePath ? ` in ${modulePath}` : ""} ${problem}`);
}

function wrong(node: GraphNode, key: string): Error {
  return exportError(
    node,
    `has an attribute ${key} of an unknown kind; was the op changed without its export?`,
  );
}

function isNumbers(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((item) => typeof item === "number");
}

export function numberOf(node: GraphNode, key: string): number {
  const value: unknown = Reflect.get(node.attributes, key);
  if (typeof value !== "number") throw wrong(node, key);
  return value;
}

export function numbersOf(node: GraphNode, key: string): readonly number[] {
  const value: unknown = Reflect.get(node.attributes, key);
  if (!isNumbers(value)) throw wrong(node, key);
  return value;
}

/** A list of pairs, [before, after] of every axis say. */
export function pairsOf(node: GraphNode, key: string): readonly (readonly number[])[] {
  const value: unknown = Reflect.get(node.attributes, key);
  if (!Array.isArray(value) || !value.every(isNumbers)) throw wrong(node, key);
  return value;
}

export function flagOf(node: GraphNode, key: string): boolean {
  return Reflect.get(node.attributes, key) === true;
}

export function textOf(node: GraphNode, key: string): string {
  const value: unknown = Reflect.get(node.attributes, key);
  if (typeof value !== "string") throw wrong(node, key);
  return value;
}

/** The attributes of every pointwise op. */
export interface PointwiseRecord {
  readonly expression: Expression;
  readonly parameters: readonly number[];
}

/** Whether an op is a pointwise one, which its expression tells all about. */
export function isPointwise(attributes: object): attributes is PointwiseRecord {
  return "expression" in attributes && "parameters" in attributes;
}
