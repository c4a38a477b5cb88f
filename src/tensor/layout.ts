/** Shapes, strides and broadcasting: pure arithmetic on small integer lists, shared by every view operation. */
import type { Layout, Shape, View } from "../backends/backend.ts";

export type { Layout, Shape } from "../backends/backend.ts";

/** Number of elements of a shape; the empty shape `[]` is a scalar with one. */
export function sizeOf(shape: Shape): number {
  let size = 1;
  for (const extent of shape) size *= extent;
  return size;
}

/** Row-major strides of a contiguous tensor. */
export function contiguousStrides(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = step;
    step *= Math.max(shape[axis], 1);
  }
  return strides;
}

/** True when the elements lie in row-major order without gaps; axes of extent 1 may have any stride. */
export function isContiguous({ shape, strides }: Layout): boolean {
  if (sizeOf(shape) === 0) return true;
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== step) return false;
    step *= shape[axis];
  }
  return true;
}

export function sameShape(a: Shape, b: Shape): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let axis = 0; axis < a.length; axis++) if (a[axis] !== b[axis]) return false;
  return true;
}

/** `[2, 3, 4]`, as errors and prints write a shape. */
export function formatShape(shape: Shape): string {
  return `[${shape.join(", ")}]`;
}

/** Throws unless every extent is a non-negative integer and the element count is exact in a double. */
export function checkShape(operation: string, shape: Shape): void {
  for (const extent of shape) {
    if (!Number.isInteger(extent) || extent < 0)
      throw new Error(
        `${operation}: shape ${formatShape(shape)} has extent ${extent}; extents are integers >= 0`,
      );
  }
  if (!Number.isSafeInteger(sizeOf(shape)))
    throw new Error(`${operation}: shape ${formatShape(shape)} has more elements than can be counted`);
}

/** Resolves a possibly negative axis (-1 is the last). Throws when it is out of range. */
export function normalizeAxis(operation: string, axis: number, rank: number): number {
  const resolved = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || resolved < 0 || resolved >= rank)
    throw new Error(
      `${operation}: axis ${axis} is out of range for ${rank} dimensions; use ${-rank} to ${rank - 1}`,
    );
  return resolved;
}

/** Resolves one axis, several, or `undefined` for all, into ascending axes without repeats. */
export function normalizeAxes(
  operation: string,
  axes: number | readonly number[] | undefined,
  rank: number,
): number[] {
  if (axes === undefined) return Array.from({ length: rank }, (_, axis) => axis);
  const list = (typeof axes === "number" ? [axes] : axes).map((axis) => normalizeAxis(operation, axis, rank));
  const unique = [...new Set(list)].sort((a, b) => a - b);
  if (unique.length !== list.length)
    throw new Error(`${operation}: axes [${list.join(", ")}] repeat an axis`);
  return unique;
}

/** The shape that all `shapes` broadcast to (NumPy's rules). Throws naming the shapes that clash. */
export function broadcastShapes(operation: string, ...shapes: readonly Shape[]): number[] {
  const rank = Math.max(0, ...shapes.map((shape) => shape.length));
  const result = new Array<number>(rank).fill(1);
  for (const shape of shapes) {
    for (let axis = 0; axis < shape.length; axis++) {
      const target = rank - shape.length + axis;
      if (shape[axis] === 1 || shape[axis] === result[target]) continue;
      if (result[target] !== 1)
        throw new Error(
          `${operation}: shapes ${shapes.map(formatShape).join(" and ")} do not broadcast: ` +
            `extents ${result[target]} and ${shape[axis]} of dimension ${target - rank} differ and neither is 1`,
        );
      result[target] = shape[axis];
    }
  }
  return result;
}

/** What all `operands` broadcast to: the shape of the first where they agree already. Throws like `broadcastShapes`. */
export function commonShape(operation: string, operands: readonly { readonly shape: Shape }[]): Shape {
  const { shape } = operands[0];
  for (let i = 1; i < operands.length; i++)
    if (!sameShape(operands[i].shape, shape))
      return broadcastShapes(operation, ...operands.map((operand) => operand.shape));
  return shape;
}

/** The layout that reads `layout` as if it had `shape`: new and stretched axes get stride 0. */
export function broadcastLayout(operation: string, layout: Layout, shape: Shape): Layout {
  const lead = shape.length - layout.shape.length;
  const fits =
    lead >= 0 && layout.shape.every((extent, axis) => extent === 1 || extent === shape[lead + axis]);
  if (!fits)
    throw new Error(
      `${operation}: shape ${formatShape(layout.shape)} does not broadcast to ${formatShape(shape)}`,
    );
  const strides = shape.map((_, axis) => {
    const source = axis - lead;
    return source < 0 || layout.shape[source] === 1 ? 0 : layout.strides[source];
  });
  return { shape, strides, offset: layout.offset };
}

/** A kernel's operands, read as if they had `shape`; the same list where they have. Throws like `broadcastLayout`. */
export function broadcastViews(operation: string, views: readonly View[], shape: Shape): readonly View[] {
  if (views.every((view) => sameShape(view.shape, shape))) return views;
  return views.map((view) => {
    const { strides, offset } = broadcastLayout(operation, view, shape);
    return { buffer: view.buffer, shape, strides, offset };
  });
}

/** Axes along which `from` was stretched to become `to`, and the count of leading axes that were added. */
export function broadcastAxes(from: Shape, to: Shape): number[] {
  const lead = to.length - from.length;
  return to.flatMap((extent, axis) =>
    axis < lead || (from[axis - lead] === 1 && extent !== 1) ? [axis] : [],
  );
}

/**
 * The strides of the same elements in a new shape, or `null` when only a copy can be reshaped so.
 * Groups old axes that are dense among themselves and splits each group into the new axes.
 */
export function reshapeStrides(layout: Layout, shape: Shape): number[] | null {
  if (sizeOf(shape) === 0) return contiguousStrides(shape);
  const old = layout.shape.flatMap((extent, axis) =>
    extent === 1 ? [] : [{ extent, stride: layout.strides[axis] }],
  );
  const strides = new Array<number>(shape.length).fill(1);
  let axis = shape.length - 1;
  let end = old.length;
  while (end > 0) {
    let start = end - 1;
    let block = old[start].extent;
    while (start > 0 && old[start - 1].stride === old[start].extent * old[start].stride) {
      start -= 1;
      block *= old[start].extent;
    }
    let stride = old[end - 1].stride;
    let covered = 1;
    while (covered < block) {
      if (axis < 0) return null;
      covered *= shape[axis];
      strides[axis] = stride;
      stride *= shape[axis];
      axis -= 1;
    }
    if (covered !== block) return null;
    end = start;
  }
  return strides;
}
