/** Prints a tensor so that a person can read it: aligned numbers, the middle of long axes left out. */
import type { Shape } from "../backends/backend.ts";
import { type DType, isFloat } from "../backends/dtype.ts";
import { contiguousStrides, formatShape } from "./layout.ts";

interface Printable {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly requiresGrad: boolean;
  readonly gradFn: { readonly op: string } | null;
  readonly backend: { readonly name: string; readonly readSync?: unknown };
  readonly storage: { readonly freed: boolean };
  readonly size: number;
  dataSync(): ArrayLike<number>;
}

/** Axes longer than `longAxis` show so many entries at either end. */
const shownEnds = 3;
const longAxis = 8;

/** The columns that rows are indented by: the first row begins after `tensor([`. */
const margin = "tensor([".length;

/** `tensor([[1.0000, 2.5000], [3.0000, 4.0000]], shape [2, 2], f32)` over as many lines as needed. */
export function formatTensor(tensor: Printable): string {
  const notes = [`shape ${formatShape(tensor.shape)}`, tensor.dtype];
  if (tensor.gradFn) notes.push(`gradFn ${tensor.gradFn.op}`);
  else if (tensor.requiresGrad) notes.push("requiresGrad");
  if (tensor.storage.freed) return `tensor(freed, ${notes.join(", ")})`;
  if (!tensor.backend.readSync) return `tensor(on ${tensor.backend.name}, ${notes.join(", ")})`;
  const body = tensor.size === 0 ? "[]" : printElements(tensor.dataSync(), tensor.shape, tensor.dtype);
  return `tensor(${body}, ${notes.join(", ")})`;
}

/** The entries of an axis to be shown; null stands for those left out. */
function shownEntries(extent: number): (number | null)[] {
  if (extent <= longAxis) return Array.from({ length: extent }, (_, i) => i);
  const ends = Array.from({ length: shownEnds }, (_, i) => i);
  return [...ends, null, ...ends.map((i) => extent - shownEnds + i)];
}

function printElements(data: ArrayLike<number>, shape: Shape, dtype: DType): string {
  const strides = contiguousStrides(shape);
  const entries = shape.map(shownEntries);
  const shown: number[] = [];
  const visit = (axis: number, position: number): void => {
    if (axis === shape.length) shown.push(data[position]);
    else for (const i of entries[axis]) if (i !== null) visit(axis + 1, position + i * strides[axis]);
  };
  visit(0, 0);
  const format = numberFormat(shown, dtype);
  const width = Math.max(...shown.map((value) => format(value).length));
  const print = (axis: number, position: number): string => {
    if (axis === shape.length) return format(data[position]).padStart(width);
    const parts = entries[axis].map((i) =>
      i === null ? "…" : print(axis + 1, position + i * strides[axis]),
    );
    return `[${parts.join(axis === shape.length - 1 ? ", " : `,\n${" ".repeat(margin + axis)}`)}]`;
  };
  return print(0, 0);
}

function numberFormat(values: readonly number[], dtype: DType): (value: number) => string {
  if (dtype === "bool") return (value) => (value ? "true" : "false");
  if (!isFloat(dtype)) return String;
  const finite = values.filter(Number.isFinite);
  const sizes = finite.filter((value) => value !== 0).map(Math.abs);
  const special = (format: (value: number) => string) => (value: number) =>
    Number.isFinite(value) ? format(value) : String(value);
  if (finite.every(Number.isInteger) && sizes.every((size) => size < 1e7))
    return special((value) => `${value}.`);
  if (sizes.some((size) => size >= 1e5 || size < 1e-4)) return special((value) => value.toExponential(4));
  return special((value) => value.toFixed(4));
}
