/** The same numbers in another dtype. */
import type { HostView } from "../../backend.ts";
import type { DType } from "../../dtype.ts";
import { collapseAxes } from "../collapse.ts";

export interface CastAttributes {
  readonly dtype: DType;
}

/**
 * x in any strides -> output of the same shape. Typed arrays convert what is stored in them (floats lose their
 * fraction, integers wrap around); only booleans are computed, as x ≠ 0.
 */
export function cast([x]: readonly HostView[], output: HostView, { dtype }: CastAttributes): void {
  const { shape, strides } = collapseAxes([x, output]);
  if (shape.includes(0)) return;
  const [from, to] = strides;
  const inner = shape.length - 1;
  const columns = inner < 0 ? 1 : shape[inner];
  const [fromStep, toStep] = inner < 0 ? [1, 1] : [from[inner], to[inner]];
  const bulk = dtype !== "bool" && fromStep === 1 && toStep === 1 && columns > 1;
  const row = (source: number, target: number): void => {
    if (bulk) output.data.set(x.data.subarray(source, source + columns), target);
    else if (dtype === "bool")
      for (let i = 0; i < columns; i++)
        output.data[target + i * toStep] = x.data[source + i * fromStep] !== 0 ? 1 : 0;
    else for (let i = 0; i < columns; i++) output.data[target + i * toStep] = x.data[source + i * fromStep];
  };
  const visit = (axis: number, source: number, target: number): void => {
    if (axis >= inner) row(source, target);
    else
      for (let i = 0; i < shape[axis]; i++) visit(axis + 1, source + i * from[axis], target + i * to[axis]);
  };
  visit(0, x.offset, output.offset);
}
