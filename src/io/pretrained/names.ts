/**
 * How the tensors of other projects' checkpoints are called in our models. A table is a list of renamings, applied one
 * after the other to every name; a tensor may also be cut or turned where two projects lay out the same layer
 * differently.
 */
import { concat, slice } from "../../autograd/index.ts";
import type { Shape } from "../../backends/backend.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/**
 * What of a stored tensor a tensor of the model is: all of it, one half of its rows (axis 0), or all of it with the
 * halves of its columns (axis 1) exchanged.
 */
export type TensorPart = "whole" | "first rows" | "last rows" | "columns exchanged";

/** A tensor of the model that a stored tensor fills. */
export interface NamedPart {
  readonly name: string;
  readonly part: TensorPart;
}

/** How a project calls its tensors. */
export interface NameMapping {
  /** What reports call it. */
  readonly name: string;
  /** What a stored tensor fills in the model. */
  map(stored: string): readonly NamedPart[];
}

/** The shape of a part. A half of an odd number of rows is none, and fits nothing. */
export function partShape(shape: Shape, part: TensorPart): Shape {
  const [rows, ...rest] = shape;
  return part === "first rows" || part === "last rows" ? [rows / 2, ...rest] : shape;
}

/** A part of a tensor. */
export function takePart(tensor: Tensor, part: TensorPart): Tensor {
  switch (part) {
    case "whole":
      return tensor;
    case "first rows":
      return slice(tensor, 0, 0, tensor.shape[0] / 2);
    case "last rows":
      return slice(tensor, 0, tensor.shape[0] / 2);
    case "columns exchanged": {
      const half = Math.floor(tensor.shape[1] / 2);
      return concat([slice(tensor, 1, half), slice(tensor, 1, 0, half)], 1);
    }
  }
}

/** One renaming: what `from` matches becomes the text that `to` makes of its groups. */
export interface Renaming {
  readonly from: RegExp;
  to(...groups: readonly string[]): string | readonly NamedPart[];
}

/** A mapping from renamings, applied in their order; a renaming that names parts ends with them at each of them. */
export function renamings(name: string, rules: readonly Renaming[]): NameMapping {
  const apply = ({ name: current, part }: NamedPart, { from, to }: Renaming): readonly NamedPart[] => {
    const match = from.exec(current);
    if (!match) return [{ name: current, part }];
    const [matched, ...groups] = match;
    const put = (text: string): string =>
      current.slice(0, match.index) + text + current.slice(match.index + matched.length);
    const renamed = to(...groups);
    if (typeof renamed === "string") return [{ name: put(renamed), part }];
    return renamed.map((target) => ({ name: put(target.name), part: target.part }));
  };
  return {
    name,
    map: (stored) =>
      rules.reduce<readonly NamedPart[]>(
        (parts, rule) => parts.flatMap((part) => apply(part, rule)),
        [{ name: stored, part: "whole" }],
      ),
  };
}
