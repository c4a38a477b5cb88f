/** Prints a tensor so that a person can read it: aligned numbers, the middle of long axes left out. */
import type { Shape } from "../backends/backend.ts";
import type { DType } from "../backends/dtype.ts";
import { formatShape } from "./layout.ts";
import type { NestedArray } from "./tensor.ts";

interface Printable {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly requiresGrad: boolean;
  readonly gradFn: { readonly op: string } | null;
  readonly backend: { readonly name: string; readonly readSync?: unknown };
  readonly size: number;
  toArraySync(): NestedArray;
}

/** Axes longer than this show their ends only. */
const shownEnds = 3;
const longAxis = 8;

/** `tensor([[1.0000, 2.0000], [3.0000, 4.0000]], shape [2, 2], f32)` over as many lines as needed. */
export function formatTensor(tensor: Printable): string {
  const notes = [`shape ${formatShape(tensor.shape)}`, tensor.dtype];
  if (tensor.gradFn) notes.push(`gradFn ${tensor.gradFn.op}`);
  else if (tensor.requiresGrad) notes.push("requiresGrad");
  if (!tensor.backend.readSync) return `tensor(on ${tensor.backend.name}, ${notes.join(", ")})`;
  const body = tensor.size === 0 ? "[]" : printNested(tensor.toArraySync(), tensor.dtype);
  return `tensor(${body}, ${notes.join(", ")})`;
}

function printNested(values: NestedArray, dtype: DType): string {
  const shown: number[] = [];
  visit(values, (value) => shown.push(value));
  const format = numberFormat(shown, dtype);
  const width = Math.max(...shown.map((value) => format(value).length));
  const print = (node: NestedArray, indent: number): string => {
    if (typeof node === "number") return format(node).padStart(width);
    const parts = elide(node).map((item) => (item === null ? "…" : print(item, indent + 1)));
    const isRow = node.every((item) => typeof item === "number");
    return `[${parts.join(isRow ? ", " : `,\n${" ".repeat(indent)}`)}]`;
  };
  return print(values, "tensor([".length);
}

function elide(items: readonly NestedArray[]): readonly (NestedArray | null)[] {
  return items.length <= longAxis ? items : [...items.slice(0, shownEnds), null, ...items.slice(-shownEnds)];
}

function visit(node: NestedArray, see: (value: number) => void): void {
  if (typeof node === "number") see(node);
  else for (const item of elide(node)) if (item !== null) visit(item, see);
}

function numberFormat(values: readonly number[], dtype: DType): (value: number) => string {
  if (dtype === "bool") return (value) => (value ? "true" : "false");
  const finite = values.filter(Number.isFinite);
  if (finite.every(Number.isInteger) && finite.every((value) => Math.abs(value) < 1e7))
    return dtype === "f32" || dtype === "f64"
      ? (value) => (Number.isFinite(value) ? `${value}.` : String(value))
      : String;
  const largest = Math.max(...finite.map(Math.abs));
  const smallest = Math.min(...finite.filter((value) => value !== 0).map(Math.abs));
  if (largest >= 1e5 || smallest < 1e-4) return (value) => value.toExponential(4);
  return (value) => value.toFixed(4);
}
